using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Runtime;

/// <summary>
/// Brings files to the disk, and reports when the disk refuses. .NET's own <c>FileStream.Flush(true)</c> and
/// <c>RandomAccess.FlushToDisk</c> ignore the result of fsync, so a failed disk would look like a saved file.
/// </summary>
internal static partial class DurableFile
{
    private const int Interrupted = 4,
        Invalid = 22;

    /// <summary>Writes what a stream has buffered, and waits until the disk has it.</summary>
    /// <exception cref="IOException">The disk is full or failed. The message has the path.</exception>
    public static void Flush(FileStream stream)
    {
        stream.Flush();
        Sync(stream.SafeFileHandle, stream.Name);
    }

    /// <summary>Waits until the disk has everything that was written through a handle.</summary>
    /// <param name="file">The open file.</param>
    /// <param name="path">Its path, for the message.</param>
    /// <exception cref="IOException">The disk is full or failed.</exception>
    public static void Sync(SafeFileHandle file, string path)
    {
        if (OperatingSystem.IsWindows())
        {
            RandomAccess.FlushToDisk(file);
            return;
        }
        SyncChecked(() => FSync(file), path);
        // There, fsync only reaches the drive's cache. This reaches the drive.
        if (OperatingSystem.IsMacOS())
            RandomAccess.FlushToDisk(file);
    }

    /// <summary>
    /// Waits until the disk has the names in a folder: after a rename, the new name is not safe before. Windows does not need it.
    /// </summary>
    /// <exception cref="IOException">The disk is full or failed.</exception>
    public static void SyncDirectory(string path)
    {
        if (OperatingSystem.IsWindows())
            return;
        var handle = Open(path, 0);
        if (handle < 0)
            throw MakeError(Marshal.GetLastPInvokeError(), path);
        try
        {
            SyncChecked(() => FSync(handle), path);
        }
        finally
        {
            _ = Close(handle);
        }
    }

    /// <summary>Calls fsync until no signal interrupts it, and checks its result.</summary>
    internal static void SyncChecked(Func<int> sync, string path)
    {
        while (sync() != 0)
        {
            var error = Marshal.GetLastPInvokeError();
            // Some network file systems cannot flush a folder, and pipes and devices have no disk.
            if (error == Invalid || error == NotSupported)
                return;
            if (error != Interrupted)
                throw MakeError(error, path);
        }
    }

    private static int NotSupported => OperatingSystem.IsMacOS() ? 45 : 95;

    private static IOException MakeError(int error, string path) =>
        new($"{Marshal.GetPInvokeErrorMessage(error)} while '{path}' was brought to the disk.");

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int FSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int FSync(int file);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Close(int file);
}
