using System.Diagnostics;
using System.Globalization;

namespace LongLora.Runtime;

/// <summary>
/// Writes files and folders so that a reader sees the old one or the new one, never a part: aside under <c>NAME.partial-PROCESS</c>,
/// flushed to disk, renamed. What a killed process has left aside goes with the next write of the same name.
/// </summary>
public static class AtomicFile
{
    private const string Partial = ".partial-",
        Old = ".old-";

    /// <summary>
    /// Replaces <paramref name="path"/> by what <paramref name="write"/> puts into the stream; makes the folders above it where they
    /// lack.
    /// </summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        var full = Path.GetFullPath(path);
        var aside = MakePathBeside(full, Partial);
        Guard(full, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full) ?? full);
            RemoveLeft(full);
            try
            {
                using (var stream = new FileStream(aside, FileMode.Create, FileAccess.ReadWrite, FileShare.None, 1 << 20))
                {
                    write(stream);
                    stream.Flush(flushToDisk: true);
                }
                File.Move(aside, full, overwrite: true);
            }
            catch
            {
                TryRemove(aside);
                throw;
            }
        });
    }

    /// <summary>Replaces <paramref name="path"/> by a text in UTF-8.</summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void WriteText(string path, string text) => Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write(text);
        });

    /// <summary>
    /// Finds out whether a file can be written to, before the work whose result it takes; makes the folders above it where they lack.
    /// </summary>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void RequireWritable(string path)
    {
        var full = Path.GetFullPath(path);
        if (Directory.Exists(full))
            throw new ConfigurationException($"'{path}' is a folder; give the name of a file.");
        Guard(full, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full) ?? full);
            var aside = MakePathBeside(full, Partial);
            File.Create(aside).Dispose();
            File.Delete(aside);
        });
    }

    /// <summary>
    /// Fills a folder aside, flushes its files, and renames it to <paramref name="path"/>; a folder that was there before is replaced at
    /// the very end.
    /// </summary>
    /// <remarks>
    /// File systems have no portable exchange of two folders: between two renames there is a moment without either. A process killed right
    /// then leaves the earlier folder beside as <c>NAME.old-PROCESS</c>; the next write of that name puts it back first.
    /// </remarks>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void WriteDirectory(string path, Action<string> fill)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var aside = MakePathBeside(full, Partial);
        Guard(full, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full) ?? full);
            RemoveLeft(full);
            try
            {
                Directory.CreateDirectory(aside);
                fill(aside);
                foreach (var file in Directory.EnumerateFiles(aside, "*", SearchOption.AllDirectories))
                {
                    using var stream = new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.Read, 0);
                    stream.Flush(flushToDisk: true);
                }
                Replace(full, aside);
            }
            catch
            {
                TryRemove(aside);
                throw;
            }
        });
    }

    /// <summary>Turns the system's refusals into a message about the place that was to be written.</summary>
    internal static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"Cannot write '{path}': {e.Message} Choose another output, or make room or rights there.", e);
        }
    }

    private static void Replace(string full, string aside)
    {
        if (!Directory.Exists(full))
        {
            Directory.Move(aside, full);
            return;
        }
        var old = MakePathBeside(full, Old);
        Directory.Move(full, old);
        try
        {
            Directory.Move(aside, full);
        }
        catch
        {
            Directory.Move(old, full);
            throw;
        }
        TryRemove(old);
    }

    private static string MakePathBeside(string full, string mark) =>
        string.Create(CultureInfo.InvariantCulture, $"{full}{mark}{Environment.ProcessId}");

    // Only what belongs to no running process: another one may be writing the same name.
    private static void RemoveLeft(string full)
    {
        var (folder, name) = (Path.GetDirectoryName(full), Path.GetFileName(full));
        if (folder is null)
            return;
        foreach (var mark in (ReadOnlySpan<string>)[Old, Partial])
        {
            foreach (var left in Directory.GetFileSystemEntries(folder, name + mark + "*").Where(entry => IsLeft(entry, mark)))
            {
                if (mark == Old && !Directory.Exists(full))
                    Directory.Move(left, full);
                else
                    TryRemove(left);
            }
        }
    }

    private static bool IsLeft(string entry, string mark)
    {
        var start = entry.LastIndexOf(mark, StringComparison.Ordinal) + mark.Length;
        if (!int.TryParse(entry.AsSpan(start), NumberStyles.None, CultureInfo.InvariantCulture, out var process))
            return false;
        if (process == Environment.ProcessId)
            return true;
        try
        {
            using var running = Process.GetProcessById(process);
            return false;
        }
        catch (ArgumentException)
        {
            return true;
        }
    }

    private static void TryRemove(string path)
    {
        try
        {
            if (Directory.Exists(path))
                Directory.Delete(path, recursive: true);
            else
                File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It stays until the next write; the reason that brought us here matters more.
        }
    }
}
