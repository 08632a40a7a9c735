using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Rich Text Format as plain text: headings and lists similar to Markdown, tables with one line per row, footnotes at the end. Hidden and
/// deleted text, pictures, page headers and footers are left out.
/// </summary>
internal sealed class RtfReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".rtf"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        using var memory = new MemoryStream();
        stream.CopyTo(memory);
        var bytes = memory.GetBuffer().AsMemory(0, (int)memory.Length);
        if (!bytes.Span.TrimStart(" \t\r\n"u8).StartsWith(@"{\rtf"u8))
            throw new DataException(
                $"Cannot read {file} as Rich Text because it does not begin with {{\\rtf. Use the ending of its real type."
            );
        yield return new OpenedDocument(new StringReader(new RtfText(bytes, file).Read()), file);
    }
}
