using LongLora.Data;
using LongLora.Documents.Formats;
using LongLora.Documents.Pdf;
using LongLora.Documents.Workers;

namespace LongLora.Documents;

/// <summary>
/// The document types that need more than the base library. All readers are thread-safe. Use <see cref="Isolated"/> for files of unknown
/// origin.
/// </summary>
public static class DocumentFormats
{
    /// <summary>
    /// PDF (<c>.pdf</c>), Word (<c>.docx</c>, <c>.docm</c>), OpenDocument (<c>.odt</c>, <c>.ott</c>, <c>.fodt</c>), Rich Text
    /// (<c>.rtf</c>), books (<c>.epub</c>), HTML (<c>.html</c>, <c>.htm</c>, <c>.xhtml</c>), e-mail and saved pages (<c>.eml</c>,
    /// <c>.mbox</c>, <c>.mht</c>, <c>.mhtml</c>), LaTeX (<c>.tex</c>, <c>.ltx</c>), notebooks (<c>.ipynb</c>), subtitles (<c>.srt</c>,
    /// <c>.vtt</c>), tables (<c>.csv</c>, <c>.tsv</c>, <c>.tab</c>, <c>.xlsx</c>, <c>.xlsm</c>, <c>.xls</c>) and Parquet
    /// (<c>.parquet</c>).
    /// </summary>
    public static IReadOnlyList<IDocumentReader> All { get; } =
    [
        new PdfReader(),
        new DocxReader(),
        new OdtReader(),
        new RtfReader(),
        new EpubReader(),
        new HtmlReader(),
        new EmailReader(),
        new TexReader(),
        new NotebookReader(),
        new SubtitleReader(),
        new CsvReader(),
        new SpreadsheetReader(),
        new ParquetReader(),
    ];

    /// <summary>
    /// The same types, read in worker processes, so that no file can end or hang this program or fill its memory (see
    /// <see cref="DocumentWorkers"/>). <see cref="All"/> where this program cannot start workers.
    /// </summary>
    public static IReadOnlyList<IDocumentReader> Isolated => DocumentWorkers.IsSupported ? DocumentWorkers.Shared.Readers : All;
}
