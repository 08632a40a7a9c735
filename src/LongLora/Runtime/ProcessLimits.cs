using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>
/// What a process that reads files from strangers takes from itself, on Linux and macOS. On other systems nothing happens.
/// </summary>
internal static partial class ProcessLimits
{
    private const int CoreOnUnix = 4,
        DataOnLinux = 2;

    /// <summary>
    /// Leaves the session of the terminal, whose Ctrl-C is not for this process, and writes no memory images after a crash.
    /// </summary>
    public static void LeaveTerminal()
    {
        if (OperatingSystem.IsWindows())
            return;
        _ = setsid();
        _ = setrlimit(CoreOnUnix, new Limit { Soft = 0, Hard = 0 });
    }

    /// <summary>Limits the memory that this process can write to, inside the garbage-collected heap or not. Linux only.</summary>
    /// <param name="bytes">The limit. What is there already counts.</param>
    public static void LimitMemory(ulong bytes)
    {
        if (OperatingSystem.IsLinux())
            _ = setrlimit(DataOnLinux, new Limit { Soft = bytes, Hard = bytes });
    }

    /// <summary>The process that started this one, or that took it over because that one has ended; null on Windows.</summary>
    public static int? FindParent() => OperatingSystem.IsWindows() ? null : getppid();

    [StructLayout(LayoutKind.Sequential)]
    private struct Limit
    {
        public ulong Soft,
            Hard;
    }

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int setrlimit(int resource, in Limit limit);

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int setsid();

    [LibraryImport("libc")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int getppid();
}
