using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// The plain texts of a corpus, for code that works on text instead of tokens: <c>.txt</c>, <c>.md</c>, <c>.jsonl</c> with <c>text</c>, and
/// .NET's <c>.xml</c> documentation.
/// </summary>
internal static class PlainTexts
{
    /// <summary>All documents of some files and folders, in the given order; within a folder in ordinal order of the names.</summary>
    /// <param name="paths">Files and folders. From a folder only the files directly in it are read.</param>
    /// <param name="cancellation">Checked once per document.</param>
    /// <exception cref="DataException">A path does not exist or has another type, or a file is damaged.</exception>
    public static IEnumerable<string> Read(IReadOnlyList<string> paths, CancellationToken cancellation = default)
    {
        foreach (var text in paths.SelectMany(FindFiles).SelectMany(ReadFile))
        {
            cancellation.ThrowIfCancellationRequested();
            yield return text;
        }
    }

    private static IEnumerable<string> FindFiles(string path) =>
        Directory.Exists(path) ? Directory.EnumerateFiles(path).Order(StringComparer.Ordinal)
        : File.Exists(path) ? [path]
        : throw new DataException($"There is no file or folder '{path}'.");

    private static IEnumerable<string> ReadFile(string path) =>
        Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".txt" or ".md" or ".text" => [Utf8TextReader.ReadFile(path)],
            ".jsonl" => ReadLines(path),
            ".xml" => XmlDocumentation.Read(path).Select(d => d.Text),
            _ => throw new DataException(
                $"Cannot read '{path}' as text because its type is not supported. Use .txt, .md, .jsonl or .NET's .xml documentation."
            ),
        };

    private static IEnumerable<string> ReadLines(string path)
    {
        using var stream = File.OpenRead(path);
        foreach (var (text, _) in JsonLines.Read(stream, path))
            yield return text;
    }
}
