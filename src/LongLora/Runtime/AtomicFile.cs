using System.Diagnostics;
using System.Globalization;

namespace LongLora.Runtime;

/// <summary>
/// Writes files and folders so that a reader sees the old or the new version, never a partial one. The new version is written next to the
/// old one as <c>NAME.partial-PROCESS</c>, flushed to disk, and renamed. Leftovers of a killed process are removed by the next write of the
/// same name.
/// </summary>
internal static class AtomicFile
{
    private const string Partial = ".partial-",
        Old = ".old-";

    /// <summary>
    /// Replaces <paramref name="path"/> with what <paramref name="write"/> puts into the stream. Missing parent folders are created.
    /// </summary>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        var full = Path.GetFullPath(path);
        var aside = MakePathBeside(full, Partial);
        Guard(full, () =>
        {
            MakeFolder(GetFolder(full));
            RemoveLeft(full);
            try
            {
                using (var stream = new FileStream(aside, FileMode.Create, FileAccess.ReadWrite, FileShare.None, 1 << 20))
                {
                    write(stream);
                    DurableFile.Flush(stream);
                }
                File.Move(aside, full, overwrite: true);
                DurableFile.SyncDirectory(GetFolder(full));
            }
            catch
            {
                TryRemove(aside);
                throw;
            }
        });
    }

    /// <summary>Replaces <paramref name="path"/> with a text in UTF-8.</summary>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void WriteText(string path, string text) => Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write(text);
        });

    /// <summary>Checks that a file can be written, before any work is done for it. Missing parent folders are created.</summary>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void RequireWritable(string path)
    {
        var full = Path.GetFullPath(path);
        if (Directory.Exists(full))
            throw new ConfigurationException($"Cannot write '{path}' because it is a folder. Give a file name.");
        Guard(full, () =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full) ?? full);
            var aside = MakePathBeside(full, Partial);
            File.Create(aside).Dispose();
            File.Delete(aside);
        });
    }

    /// <summary>
    /// Fills a temporary folder, flushes its files, and renames it to <paramref name="path"/>. An existing folder is replaced as the very
    /// last step.
    /// </summary>
    /// <remarks>
    /// File systems have no portable way to swap two folders, so for a moment between two renames neither exists. If the process is killed
    /// then, the earlier folder stays as <c>NAME.old-PROCESS</c>; the next write of the same name puts it back first.
    /// </remarks>
    /// <param name="path">The folder.</param>
    /// <param name="fill">Puts the files into the folder that it is given.</param>
    /// <param name="withChecksums">Also writes the <see cref="Checksums"/> of the files.</param>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void WriteDirectory(string path, Action<string> fill, bool withChecksums = false)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var aside = MakePathBeside(full, Partial);
        Guard(full, () =>
        {
            MakeFolder(GetFolder(full));
            RemoveLeft(full);
            try
            {
                Directory.CreateDirectory(aside);
                fill(aside);
                if (withChecksums)
                    Checksums.Write(aside);
                foreach (var file in Directory.EnumerateFiles(aside, "*", SearchOption.AllDirectories))
                {
                    using var stream = new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.Read, 0);
                    DurableFile.Flush(stream);
                }
                foreach (var folder in Directory.EnumerateDirectories(aside, "*", SearchOption.AllDirectories).Append(aside))
                    DurableFile.SyncDirectory(folder);
                Replace(full, aside);
                DurableFile.SyncDirectory(GetFolder(full));
            }
            catch
            {
                TryRemove(aside);
                throw;
            }
        });
    }

    /// <summary>Refuses to replace a folder of the user that holds anything but an earlier result, as its checksums tell.</summary>
    /// <exception cref="ConfigurationException">It names the first such file.</exception>
    internal static void RequireOwn(string folder)
    {
        if (Directory.Exists(folder) && Checksums.FindForeign(folder) is { } foreign)
            throw new ConfigurationException(
                $"Cannot replace the folder '{folder}' because '{Path.GetFileName(foreign)}' in it is not from an earlier result. Choose "
                    + "another folder, or empty this one."
            );
    }

    /// <summary>Creates a folder and its parents, and brings their names to the disk.</summary>
    /// <exception cref="IOException">It cannot be created, or the disk failed.</exception>
    internal static void MakeFolder(string path)
    {
        if (Directory.Exists(path))
            return;
        var parent = GetFolder(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        if (parent != path)
            MakeFolder(parent);
        Directory.CreateDirectory(path);
        DurableFile.SyncDirectory(parent);
    }

    /// <summary>Deletes a file, or a folder with all that is in it, if it is there.</summary>
    /// <exception cref="ConfigurationException">It cannot be deleted.</exception>
    public static void Delete(string path)
    {
        try
        {
            if (Directory.Exists(path))
                Directory.Delete(path, recursive: true);
            else if (File.Exists(path))
                File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"Cannot delete '{path}': {e.Message} Change the permissions, or delete it yourself.", e);
        }
    }

    /// <summary>Turns an I/O error into a message that names the path.</summary>
    internal static void Guard(string path, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException(
                $"Cannot write '{path}': {e.Message} Choose another output, free some space, or change the permissions.",
                e
            );
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

    /// <summary>
    /// A name beside a path for what will be renamed to it by the caller. Leftovers of killed processes under such names are removed.
    /// </summary>
    internal static string MakeAside(string path)
    {
        var full = Path.GetFullPath(path);
        RemoveLeft(full);
        return MakePathBeside(full, Partial);
    }

    private static string GetFolder(string full) => Path.GetDirectoryName(full) ?? full;

    private static string MakePathBeside(string full, string mark) =>
        string.Create(CultureInfo.InvariantCulture, $"{full}{mark}{Environment.ProcessId}");

    // Only what no running process owns: another process may be writing the same name.
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
            // It stays until the next write. The error that led here matters more.
        }
    }
}
