using LongLora.Data;
using LongLora.Documents.Questions;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>One file of a corpus.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Name">The folder or file that was given, and the path from there, with <c>/</c>: the same on every machine.</param>
/// <param name="Reader">The reader for it.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Modified">Last change, in ticks of UTC.</param>
internal sealed record CorpusSource(string Path, string Name, IDocumentReader Reader, long Length, long Modified)
{
    /// <summary>All readers. The first one that supports an extension is used.</summary>
    public static IReadOnlyList<IDocumentReader> Readers { get; } =
    [.. DocumentReaders.Plain, .. DocumentFormats.Isolated, new SourceCodeReader()];

    /// <summary>
    /// All files of some paths in the given order, each file once; within a folder in ordinal order of the names.
    /// </summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="output">The output, which is not read even if it is in one of the folders.</param>
    /// <param name="unread">Receives the files in the folders for which there is no reader; null if nobody asks.</param>
    /// <exception cref="DataException">A path does not exist or has an unsupported type, or there are no readable files.</exception>
    public static List<CorpusSource> Find(IReadOnlyList<string> paths, string output, List<string>? unread = null)
    {
        unread ??= [];
        var sources = new List<CorpusSource>();
        var written = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(output));
        foreach (var path in paths)
        {
            var full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(DataFiles.Locate(path)));
            var name = System.IO.Path.GetFileName(full);
            if (Directory.Exists(full))
                sources.AddRange(Walk(full, name, written, unread).OrderBy(s => s.Name, StringComparer.Ordinal));
            else if (!File.Exists(full))
                throw new DataException($"There is no file or folder '{path}'.");
            else
                sources.Add(
                    Open(full, name)
                        ?? throw new DataException(
                            $"Cannot read '{path}' because its type is not supported. Use {ListKinds()}."
                                + (
                                    DataFiles.GetExtension(path) == ".json"
                                        ? " Conversations need no corpus: longlora sft reads them directly, and --show prints them."
                                        : ""
                                )
                        )
                );
        }
        // Files with the same name are distinguished by their full paths.
        var names = new HashSet<string>(StringComparer.Ordinal);
        var distinct = sources
            .DistinctBy(s => s.Path)
            .Select(s => names.Add(s.Name) ? s : s with { Name = s.Path.Replace('\\', '/') })
            .ToList();
        return distinct.Count > 0
            ? distinct
            : throw new DataException(
                $"There are no readable files in {string.Join(", ", paths.Select(p => $"'{p}'"))}."
                    + (unread.Count > 0 ? $" Their {unread.Count:N0} files are {FileNotes.List(FileNotes.CountKinds(unread))}." : "")
                    + $" Use {ListKinds()}."
            );
    }

    /// <summary>Passes on what is read from this file. If an error occurs, it is reported and reading ends.</summary>
    public IEnumerable<T> Guard<T>(IEnumerable<T> read, Action<LeftOutFile>? leftOut)
    {
        using var items = DataFiles.Guard(read, Path).GetEnumerator();
        while (true)
        {
            try
            {
                if (!items.MoveNext())
                    yield break;
            }
            catch (DataException e)
            {
                leftOut?.Invoke(new LeftOutFile(Name, e.Message));
                yield break;
            }
            yield return items.Current;
        }
    }

    private static string ListKinds() =>
        string.Join(", ", Readers.Where(r => r is not SourceCodeReader).SelectMany(r => r.Extensions))
        + ", gzipped or not, and source code";

    private static CorpusSource? Open(string path, string name)
    {
        var extension = DataFiles.GetExtension(path);
        if (Readers.FirstOrDefault(r => r.Extensions.Contains(extension)) is not { } reader)
            return null;
        var file = new FileInfo(path);
        return new CorpusSource(path, name, reader, file.Length, file.LastWriteTimeUtc.Ticks);
    }

    private static List<CorpusSource> Walk(string root, string name, string written, List<string> unread)
    {
        var found = new List<CorpusSource>();
        var pending = new Stack<(string Folder, string Name, IgnoreRules Rules, bool IsOutput)>([
            (root, name, IgnoreRules.ReadAt(root), false),
        ]);
        try
        {
            while (pending.TryPop(out var at))
            {
                foreach (var entry in new DirectoryInfo(at.Folder).EnumerateFileSystemInfos())
                {
                    var isFolder = (entry.Attributes & FileAttributes.Directory) != 0;
                    if (
                        entry.FullName == written
                        || entry.FullName == written + QuestionBuilder.JournalEnding
                        || at.Rules.Ignores(entry.Name, isFolder)
                    )
                        continue;
                    // Links to files are followed. Links to folders are not, because they may form a cycle.
                    if (isFolder && entry.LinkTarget is null)
                        pending.Push(
                            (
                                entry.FullName,
                                $"{at.Name}/{entry.Name}",
                                new IgnoreRules(entry.FullName, at.Rules),
                                at.IsOutput || IgnoreRules.IsOutput(entry.Name)
                            )
                        );
                    else if (!isFolder)
                    {
                        if (Open(entry.FullName, $"{at.Name}/{entry.Name}") is not { } source)
                            unread.Add(entry.Name);
                        else if (!(at.IsOutput && source.Reader is SourceCodeReader))
                            found.Add(source);
                    }
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot list '{root}': {e.Message}", e);
        }
        return found;
    }
}
