namespace LongLora.Runtime;

/// <summary>Writes files and folders so that a reader sees the old one or the new one, never a part: aside, flushed to disk, renamed.</summary>
public static class AtomicFile
{
    /// <summary>Replaces <paramref name="path"/> by what <paramref name="write"/> puts into the stream.</summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        var full = Path.GetFullPath(path);
        var aside = $"{full}.partial-{Environment.ProcessId}";
        Guard(full, () => Directory.CreateDirectory(Path.GetDirectoryName(full)!));
        try
        {
            FileStream? stream = null;
            Guard(full, () => stream = new FileStream(aside, FileMode.Create, FileAccess.ReadWrite, FileShare.None, 1 << 20));
            using (stream)
            {
                write(stream!);
                Guard(full, () => stream!.Flush(flushToDisk: true));
            }
            Guard(full, () => File.Move(aside, full, overwrite: true));
        }
        catch
        {
            File.Delete(aside);
            throw;
        }
    }

    /// <summary>Replaces <paramref name="path"/> by a text in UTF-8.</summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void WriteText(string path, string text) => Write(path, stream =>
    {
        using var writer = new StreamWriter(stream, leaveOpen: true);
        writer.Write(text);
    });

    /// <summary>
    /// Fills a folder aside and renames it to <paramref name="path"/>; a folder that was there before is replaced at the very end. Each
    /// file in it must flush itself, as those of this class do.
    /// </summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void WriteDirectory(string path, Action<string> fill)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string aside = $"{full}.partial-{Environment.ProcessId}", old = $"{full}.old-{Environment.ProcessId}";
        Guard(full, () => RemoveDirectory(aside));
        Guard(full, () => Directory.CreateDirectory(aside));
        try
        {
            fill(aside);
            Guard(full, () =>
            {
                if (Directory.Exists(full))
                    Directory.Move(full, old);
                Directory.Move(aside, full);
                RemoveDirectory(old);
            });
        }
        catch
        {
            RemoveDirectory(aside);
            throw;
        }
    }

    /// <summary>Turns the system's refusals into a message about the place that was to be written.</summary>
    internal static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ConfigurationException($"Cannot write '{path}': {e.Message} Choose another output, or make room or rights there.", e);
        }
    }

    private static void RemoveDirectory(string path)
    {
        if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);
    }
}
