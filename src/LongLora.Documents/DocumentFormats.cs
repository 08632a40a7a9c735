using LongLora.Data;
using LongLora.Documents.Pdf;

namespace LongLora.Documents;

/// <summary>The document types that need more than the base library. All readers are thread-safe.</summary>
public static class DocumentFormats
{
    /// <summary>
    /// PDF (<c>.pdf</c>), Word (<c>.docx</c>, <c>.docm</c>), HTML (<c>.html</c>, <c>.htm</c>, <c>.xhtml</c>), Parquet (<c>.parquet</c>).
    /// </summary>
    public static IReadOnlyList<IDocumentReader> All { get; } = [new PdfReader(), new DocxReader(), new HtmlReader(), new ParquetReader()];
}
