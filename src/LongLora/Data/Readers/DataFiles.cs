using ICSharpCode.SharpZipLib;
using ICSharpCode.SharpZipLib.GZip;
using LongLora.Loading;
using LongLora.Runtime;
using ZstdSharp;

namespace LongLora.Data;

/// <summary>Finds and opens data files, compressed with gzip or Zstandard or not compressed.</summary>
internal static class DataFiles
{
    /// <summary>All files of some paths, in the given order; within a folder in ordinal order of the names.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="extensions">The extensions to read, as <see cref="GetExtension"/> returns them.</param>
    /// <param name="unread">
    /// Receives the files in the folders that have another type, without those whose name or folder begins with a dot; null if nobody asks.
    /// </param>
    /// <exception cref="DataException">A path does not exist or has another type, or a folder contains no readable file.</exception>
    public static IEnumerable<string> Expand(IEnumerable<string> paths, IReadOnlyList<string> extensions, List<string>? unread = null) =>
        paths.SelectMany(path => Expand(path, extensions, unread));

    /// <summary>The extension of a file name in lower case with its dot, without <c>.gz</c> or <c>.zst</c>.</summary>
    public static string GetExtension(string path) =>
        Path.GetExtension(IsGzip(path) || IsZstandard(path) ? Path.GetFileNameWithoutExtension(path) : path).ToLowerInvariant();

    /// <summary>Opens a file for sequential reading and decompresses it.</summary>
    public static Stream Open(string path)
    {
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan);
        // Not GZipStream: it accepts a truncated file as complete, and training would continue with half of the data.
        return IsGzip(path) ? new UnpackedStream(new GZipInputStream(file, 1 << 16))
            : IsZstandard(path) ? new UnpackedStream(new DecompressionStream(file, leaveOpen: false))
            : file;
    }

    /// <summary>Passes on what is read from a file, and turns I/O and decompression errors into a message that names the file.</summary>
    /// <exception cref="DataException">The file cannot be read.</exception>
    public static IEnumerable<T> Guard<T>(IEnumerable<T> read, string file)
    {
        using var items = read.GetEnumerator();
        while (Next(items, file))
            yield return items.Current;
    }

    private static bool Next<T>(IEnumerator<T> items, string file)
    {
        try
        {
            return items.MoveNext();
        }
        catch (Exception e) when (IsGzip(file) && e is SharpZipBaseException or EndOfStreamException)
        {
            throw new DataException($"{file} is not a complete gzip file: {e.Message}", e);
        }
        catch (Exception e) when (IsZstandard(file) && e is ZstdException or EndOfStreamException)
        {
            throw new DataException($"{file} is not a complete Zstandard file: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot read '{file}': {e.Message}", e);
        }
    }

    /// <summary>Where data is that a text names: the path itself, or the folder of a data set in the Hugging Face cache.</summary>
    /// <exception cref="DataException">There is neither; the message says how to get it.</exception>
    public static string Locate(string path) =>
        Directory.Exists(path) || File.Exists(path) || HubName.Parse(path, isDataset: true) is not { Part: null } name
            ? path
            : HubCache.Default.FindDataset(name);

    private static List<string> Expand(string path, IReadOnlyList<string> extensions, List<string>? unread)
    {
        var given = path;
        path = Locate(path);
        if (Directory.Exists(path))
        {
            var all = FindFiles(path)
                .Where(f => path == given || f != Path.Combine(path, "README.md")) // of a data set: tells about it, is no part of it
                .Order(StringComparer.Ordinal)
                .ToLookup(f => extensions.Contains(GetExtension(f)));
            var files = all[true].ToList();
            unread?.AddRange(all[false].Where(f => !IsHidden(Path.GetRelativePath(path, f))));
            return files.Count > 0
                ? files
                : throw new DataException(
                    $"The folder '{path}' contains no readable file ({string.Join(", ", extensions)}, optionally compressed with gzip or "
                        + $"Zstandard)."
                );
        }
        if (!File.Exists(path))
            throw new DataException($"There is no file or folder '{path}'.");
        return extensions.Contains(GetExtension(path))
            ? [path]
            : throw new DataException(
                $"Cannot read '{path}' because its type is not supported. Use {string.Join(", ", extensions)}, optionally "
                    + $"compressed with gzip (.gz) or Zstandard "
                    + $"(.zst)."
            );
    }

    // Links to files are followed. Links to folders are not, because they may form a cycle.
    private static List<string> FindFiles(string folder)
    {
        try
        {
            var everything = new EnumerationOptions { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false };
            var files = Directory.EnumerateFiles(folder, "*", everything).ToList();
            foreach (var below in new DirectoryInfo(folder).EnumerateDirectories("*", everything))
            {
                if (below.LinkTarget is null)
                    files.AddRange(FindFiles(Path.Combine(folder, below.Name)));
            }
            return files;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot list '{folder}': {e.Message}", e);
        }
    }

    private static bool IsHidden(string path) => path.Split(Path.DirectorySeparatorChar).Any(part => part.StartsWith('.'));

    private static bool IsZstandard(string path) => path.EndsWith(".zst", StringComparison.OrdinalIgnoreCase);

    private static bool IsGzip(string path) => path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);
}
