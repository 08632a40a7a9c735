namespace LongLora.Runtime;

/// <summary>A file that holds what does not fit into memory and that nothing is left of, however the process ends.</summary>
internal static class ScratchFile
{
    /// <summary>Makes a new one, open for reading and writing.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="kind">What is in it; part of its name while it has one.</param>
    /// <param name="bufferSize">Bytes buffered by the stream; 0 for none.</param>
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
        // Open files need no name here, so that a killed process leaves none.
        if (!OperatingSystem.IsWindows())
            File.Delete(path);
        return file;
    }
}
