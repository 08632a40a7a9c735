using System.Text;
using UglyToad.PdfPig.Content;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Letters of a page -> words, in the direction of most letters: a page in landscape orientation is rotated. Text across it, such as the
/// stamp in the margin of a preprint, is left out.
/// </summary>
internal static class PageWords
{
    // Share of the font size. TeX sets spaces of 0.2 to 0.5; kerning moves letters by less than 0.1.
    private const double SpaceWidth = 0.14;

    // Parts of font names; CMBX, CMTT and similar names are TeX's.
    private static readonly string[] s_bold = ["bold", "CMBX", "SFBX"],
        s_fixed = ["mono", "courier", "typewriter", "consol", "CMTT", "SFTT", "LMTT", "NimbusMon", "inconsolata"];

    /// <summary>The words in the order in which the file draws them.</summary>
    public static List<PdfWord> Read(Page page)
    {
        var orientation = page.Letters.CountBy(l => l.TextOrientation).DefaultIfEmpty().MaxBy(o => o.Value).Key;
        var words = new List<PdfWord>();
        var text = new StringBuilder();
        var word = default(PdfWord);
        var drawn = new HashSet<(string, double, int, int)>();
        void End()
        {
            if (text.Length > 0 && PdfCharacters.ToPlain(text.ToString()) is { Length: > 0 } plain)
                words.Add(word with { Text = plain });
            text.Clear();
        }
        foreach (var letter in page.Letters)
        {
            if (letter.TextOrientation != orientation || string.IsNullOrWhiteSpace(letter.Value))
            {
                End();
                continue;
            }
            var next = MakeWord(letter, orientation, page);
            // Poor man's bold: the same letter again, slightly moved.
            if (
                !drawn.Add(
                    (
                        letter.Value,
                        next.Size,
                        (int)Math.Round(next.Left / (0.15 * next.Size)),
                        (int)Math.Round(next.Baseline / (0.15 * next.Size))
                    )
                )
            )
                continue;
            if (text.Length > 0 && !Continues(word, next))
                End();
            word = text.Length == 0 ? next : word with { Left = Math.Min(word.Left, next.Left), Right = Math.Max(word.Right, next.Right) };
            text.Append(letter.Value);
        }
        End();
        return words;
    }

    /// <summary>Whether there is a space between two neighbors on a line.</summary>
    public static bool IsSpace(double gap, double size) => gap > SpaceWidth * size;

    private static bool Continues(PdfWord word, PdfWord next)
    {
        var size = Math.Max(word.Size, next.Size);
        return Math.Abs(word.Baseline - next.Baseline) < 0.1 * size
            && Math.Abs(word.Size - next.Size) < 0.2 * size
            && !IsSpace(next.Left - word.Right, size)
            && next.Left > word.Right - 0.6 * size;
    }

    private static PdfWord MakeWord(Letter letter, TextOrientation orientation, Page page)
    {
        var (start, end) = (letter.StartBaseLine, letter.EndBaseLine);
        var size = letter.PointSize >= 1 ? letter.PointSize : Math.Max(1, 1.4 * letter.BoundingBox.Height);
        var (left, right, baseline) = orientation switch
        {
            TextOrientation.Rotate90 => (page.Height - start.Y, page.Height - end.Y, start.X),
            TextOrientation.Rotate180 => (page.Width - start.X, page.Width - end.X, page.Height - start.Y),
            TextOrientation.Rotate270 => (start.Y, end.Y, page.Width - start.X),
            _ => (start.X, end.X, start.Y),
        };
        if (right <= left)
            right = left + Math.Max(letter.Width, 0.1 * size);
        return new PdfWord("", left, right, baseline, size, IsBold(letter), HasName(letter, s_fixed));
    }

    private static bool IsBold(Letter letter) => letter.FontDetails.IsBold || HasName(letter, s_bold);

    private static bool HasName(Letter letter, string[] names)
    {
        foreach (var name in names)
        {
            if (letter.FontName?.Contains(name, StringComparison.OrdinalIgnoreCase) == true)
                return true;
        }
        return false;
    }
}
