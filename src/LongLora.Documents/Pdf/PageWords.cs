using System.Globalization;
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
        var rightToLeft = new List<PdfWord>();
        var spans = ActualText.Find(page);
        var last = double.NegativeInfinity;
        void End()
        {
            if (text.Length > 0 && PdfCharacters.ToPlain(text.ToString()) is { Length: > 0 } plain)
                words.Add(word with { Text = plain });
            text.Clear();
        }
        foreach (var letter in page.Letters)
        {
            // Several letters may stand for one text. The first of them stands for all.
            var value = letter.Value;
            if (spans.TryGetValue(letter, out var span))
                value = span.Letters[0] == letter ? span.Text : null;
            if (value is null)
                continue;
            if (letter.TextOrientation != orientation || string.IsNullOrWhiteSpace(value))
            {
                End();
                continue;
            }
            var next = MakeWord(letter, orientation, page);
            if (span is not null)
            {
                var all = span.Letters.ConvertAll(l => MakeWord(l, orientation, page));
                next = next with { Left = all.Min(w => w.Left), Right = all.Max(w => w.Right) };
            }
            // Poor man's bold: the same letter again, slightly moved.
            if (
                !drawn.Add(
                    (value, next.Size, (int)Math.Round(next.Left / (0.15 * next.Size)), (int)Math.Round(next.Baseline / (0.15 * next.Size)))
                )
            )
                continue;
            if (RightToLeftWords.Includes(value))
            {
                End();
                rightToLeft.Add(GetInk(letter, value, orientation, next));
                continue;
            }
            // A letter that lies left of the one before does not follow it.
            if (text.Length > 0 && (!Continues(word, next) || next.Right < last + 0.1 * next.Size))
                End();
            last = next.Left;
            word = text.Length == 0 ? next : word with { Left = Math.Min(word.Left, next.Left), Right = Math.Max(word.Right, next.Right) };
            text.Append(value);
        }
        End();
        words.AddRange(RightToLeftWords.Join(rightToLeft));
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

    // A mark has no width of its own. Its ink says which letter it belongs to.
    private static PdfWord GetInk(Letter letter, string value, TextOrientation orientation, PdfWord word)
    {
        var ink = letter.BoundingBox;
        return
            orientation is TextOrientation.Horizontal or TextOrientation.Other
            && ink.Width > 0
            && value.All(c => char.GetUnicodeCategory(c) == UnicodeCategory.NonSpacingMark)
            ? word with
            {
                Text = value,
                Left = ink.Left,
                Right = ink.Right,
            }
            : word with
            {
                Text = value,
            };
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
