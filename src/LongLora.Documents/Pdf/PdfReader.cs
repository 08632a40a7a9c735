using LongLora.Data;
using LongLora.Runtime;
using UglyToad.PdfPig;
using UglyToad.PdfPig.Exceptions;

namespace LongLora.Documents.Pdf;

/// <summary>
/// PDF as running text: columns in reading order, paragraphs joined across columns and pages, and words joined that a hyphen split. Running
/// headers, page numbers and rotated text are left out. Formulas and tables keep the order of their letters, line by line.
/// </summary>
/// <remarks>A file that is encrypted with a password or contains only pictures is refused, with a message that says so.</remarks>
public sealed class PdfReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".pdf"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(stream, file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        using var pdf = Open(stream, file);
        var pages = new List<(double Height, List<PdfRegion> Regions)>();
        var (pictures, letters, unreadable) = (0, 0L, 0L);
        for (var number = 1; number <= pdf.NumberOfPages; number++)
        {
            try
            {
                var page = pdf.GetPage(number);
                var words = PageWords.Read(page);
                pictures += page.NumberOfImages > 0 ? 1 : 0;
                letters += words.Sum(w => w.Text.Length);
                unreadable += words.Sum(w => w.Text.Count(IsUnreadable));
                pages.Add((page.Height, PageLayout.Read(words, page.Width)));
            }
            catch (Exception e) when (e is not (OutOfMemoryException or DataException))
            {
                throw new DataException($"{file}: page {number} is damaged or has an unsupported format: {e.Message}", e);
            }
        }
        if (letters < 10 * pages.Count && pictures > pages.Count / 2)
            throw new DataException(
                $"{file} contains no text, only pictures of text: {pictures} of {pages.Count} pages. It is a scan. Run text recognition "
                    + $"(OCR) on it first."
            );
        if (letters == 0)
            throw new DataException(
                $"{file} contains no text: its {pages.Count} pages are empty or drawn without letters. Run text recognition (OCR) on it "
                    + $"first."
            );
        if (unreadable > 0.2 * letters)
            throw new DataException(
                $"{file}: {unreadable} of {letters} letters cannot be read because its fonts do not say which letters they draw. Run "
                    + $"text recognition (OCR) on it first."
            );
        PageFurniture.Remove(pages);
        return PdfParagraphs.Join([.. pages.SelectMany(p => p.Regions)]);
    }

    private static bool IsUnreadable(char c) => c is '\uFFFD' or (>= '\uE000' and <= '\uF8FF');

    private static PdfDocument Open(Stream stream, string file)
    {
        try
        {
            return PdfDocument.Open(
                DocxReader.MakeSeekable(stream),
                new ParsingOptions
                {
                    UseLenientParsing = true,
                    SkipMissingFonts = true,
                    FilterProvider = new CodeRangeGuard(),
                }
            );
        }
        catch (PdfDocumentEncryptedException e)
        {
            throw new DataException(
                $"{file} is encrypted with a password. Save it without a password (qpdf --decrypt, or print it to a new PDF).",
                e
            );
        }
        catch (Exception e) when (e is not (OutOfMemoryException or IOException or UnauthorizedAccessException))
        {
            throw new DataException($"Cannot read {file} as a PDF: {e.Message}", e);
        }
    }
}
