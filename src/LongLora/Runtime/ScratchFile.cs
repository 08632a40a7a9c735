namespace LongLora.Runtime;

/// <summary>A temporary file for data that does not fit into memory. Nothing of it is left, however the process ends.</summary>
internal static class ScratchFile
{
    /// <summary>Creates a file, open for reading and writing.</summary>
    /// <param name="folder">The folder to create it in.</param>
    /// <param name="kind">What it contains; part of the name while the file has one.</param>
    /// <param name="bufferSize">Bytes that the stream buffers; 0 for none.</param>
    internal static FileStream Create(string folder, string kind, int bufferSize = 0)
    {
        var path = Path.Combine(folder, $"longlora-{kind}-{Guid.NewGuid():N}.tmp");
        var file = new FileStream(
            path,
            FileMode.CreateNew,
            FileAccess.ReadWrite,
            FileShare.ReadWrite | FileShare.Delete,
            bufferSize,
            FileOptions.DeleteOnClose
        );
        // On this system an open file needs no name, so a killed process leaves none behind.
        if (!OperatingSystem.IsWindows())
            File.Delete(path);
        return file;
    }
}
