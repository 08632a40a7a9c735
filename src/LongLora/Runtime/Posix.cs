using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>Functions of the C library that .NET does not offer: the process's own environment, signals, and an immediate end.</summary>
internal static unsafe partial class Posix
{
    // More than any system's struct sigaction.
    private const int ActionBytes = 512;

    // SIGHUP, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV
    private static readonly int[] s_guarded = [1, 4, 5, 6, 7, 8, 11];

    /// <summary>Sets an environment variable that native code sees, by default only if it is not set.</summary>
    internal static void SetVariable(string name, string value, bool overwrite = false) => _ = setenv(name, value, overwrite ? 1 : 0);

    /// <summary>Ends the process at once: nothing else of it runs any more.</summary>
    internal static void Exit(int code) => _exit(code);

    /// <summary>Lets this thread sleep, also for less than the millisecond that is .NET's shortest sleep.</summary>
    internal static void Nap(TimeSpan time) => _ = usleep((uint)time.TotalMicroseconds);

    /// <summary>Loads a library; 0 if that is not possible.</summary>
    internal static nint OpenLibrary(string name, int flags) => dlopen(name, flags);

    /// <summary>
    /// Runs foreign code and then gives back the signals that it took. .NET turns SIGSEGV into a NullReferenceException; with a handler of
    /// UCX in its place, the process would end.
    /// </summary>
    internal static void KeepSignals(Action act)
    {
        var kept = stackalloc byte[s_guarded.Length * ActionBytes];
        for (var i = 0; i < s_guarded.Length; i++)
            _ = sigaction(s_guarded[i], null, kept + i * ActionBytes);
        act();
        for (var i = 0; i < s_guarded.Length; i++)
            _ = sigaction(s_guarded[i], kept + i * ActionBytes, null);
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    [LibraryImport("libc")]
    private static partial int usleep(uint microseconds);

    [LibraryImport("libc")]
    private static partial void _exit(int code);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint dlopen(string name, int flags);

    [LibraryImport("libc")]
    private static partial int sigaction(int signal, void* action, void* old);
}
