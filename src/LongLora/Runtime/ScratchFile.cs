using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Runtime;

/// <summary>A temporary file for data that does not fit into memory. Nothing of it is left, however the process ends.</summary>
internal static partial class ScratchFile
{
    /// <summary>Creates a file, open for reading and writing.</summary>
    /// <param name="folder">The folder to create it in.</param>
    /// <param name="kind">What it contains; part of the name while the file has one.</param>
    /// <param name="bufferSize">Bytes that the stream buffers; 0 for none.</param>
    internal static FileStream Create(string folder, string kind, int bufferSize = 0)
    {
        var path = Path.Combine(folder, $"longlora-{kind}-{Guid.NewGuid():N}.tmp");
        if (OperatingSystem.IsLinux() && CreateNameless(folder) is { } nameless)
            return new FileStream(nameless, FileAccess.ReadWrite, bufferSize);
        var file = new FileStream(
            path,
            FileMode.CreateNew,
            FileAccess.ReadWrite,
            FileShare.ReadWrite | FileShare.Delete,
            bufferSize,
            FileOptions.DeleteOnClose
        );
        // Without a name a killed process leaves nothing behind.
        if (!OperatingSystem.IsWindows())
            File.Delete(path);
        return file;
    }

    // O_TMPFILE: the file has no name at any time. Some file systems, such as overlays of old kernels and NFS, do not have it.
    private static SafeFileHandle? CreateNameless(string folder)
    {
        var temporary = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 or Architecture.X86 => Temporary | FolderOfX64,
            Architecture.Arm64 => Temporary | FolderOfArm64,
            _ => 0,
        };
        if (temporary == 0)
            return null;
        var handle = Open(folder, temporary | ReadWrite | CloseOnExec, OwnerOnly);
        return handle < 0 ? null : new SafeFileHandle(handle, ownsHandle: true);
    }

    private const int ReadWrite = 2,
        CloseOnExec = 0x80000,
        Temporary = 0x400000,
        FolderOfX64 = 0x10000,
        FolderOfArm64 = 0x4000,
        OwnerOnly = 0x180; // rw-------

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Open(string path, int flags, int mode);
}
