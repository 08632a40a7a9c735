using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>The readers that need only the base library.</summary>
public static class DocumentReaders
{
    /// <summary>
    /// <c>.txt</c>, <c>.md</c>, <c>.markdown</c>, <c>.rst</c> and <c>.text</c>: one document per file, unchanged; <c>.jsonl</c> and
    /// <c>.ndjson</c> with <c>text</c>: one
    /// document per line.
    /// </summary>
    public static IReadOnlyList<IDocumentReader> Plain { get; } = [new PlainText(), new TextLines()];

    private sealed class PlainText : IDocumentReader
    {
        public IReadOnlyList<string> Extensions { get; } = [".txt", ".md", ".markdown", ".rst", ".text"];

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
