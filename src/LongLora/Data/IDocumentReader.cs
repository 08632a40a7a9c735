namespace LongLora.Data;

/// <summary>One text of a file, open for reading.</summary>
/// <param name="Text">The text from its beginning. Good until the next document is asked for.</param>
/// <param name="Origin">Where it came from, such as <c>book.txt</c> or <c>data.jsonl:17</c>, for messages.</param>
public readonly record struct OpenedDocument(TextReader Text, string Origin);

/// <summary>
/// Reads one kind of file as texts. Readers that need nothing else are in <see cref="DocumentReaders.Plain"/>; those for PDF, DOCX and
/// HTML are in LongLora.Documents, and an application hands them to <see cref="ExampleSources.Open"/>. A reader may be used by several
/// threads at once.
/// </summary>
public interface IDocumentReader
{
    /// <summary>Endings of the file names that it reads: lower case, with their dot, without <c>.gz</c>.</summary>
    IReadOnlyList<string> Extensions { get; }

    /// <summary>The documents of one file in order.</summary>
    /// <param name="stream">The file from its beginning, unpacked; it may not be seekable. The caller closes it.</param>
    /// <param name="file">Its path, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">The file is damaged, or of a form that cannot be read.</exception>
    IEnumerable<OpenedDocument> Read(Stream stream, string file);
}

/// <summary>The readers that need nothing but the base library.</summary>
public static class DocumentReaders
{
    /// <summary>
    /// <c>.txt</c>, <c>.md</c> and <c>.text</c>: one document each, as it is; <c>.jsonl</c> and <c>.ndjson</c> with <c>text</c>: one
    /// document a line.
    /// </summary>
    public static IReadOnlyList<IDocumentReader> Plain { get; } = [new PlainText(), new TextLines()];

    private sealed class PlainText : IDocumentReader
    {
        public IReadOnlyList<string> Extensions { get; } = [".txt", ".md", ".text"];

        public IEnumerable<OpenedDocument> Read(Stream stream, string file)
        {
            yield return new OpenedDocument(new Utf8TextReader(stream, file), file);
        }
    }

    private sealed class TextLines : IDocumentReader
    {
        public IReadOnlyList<string> Extensions { get; } = [".jsonl", ".ndjson"];

        public IEnumerable<OpenedDocument> Read(Stream stream, string file)
        {
            foreach (var (text, origin) in JsonLines.Read(stream, file))
                yield return new OpenedDocument(new StringReader(text), origin);
        }
    }
}
