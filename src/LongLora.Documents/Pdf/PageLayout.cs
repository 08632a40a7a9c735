using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Words of a page -> regions in reading order. A gutter is a white stripe at least 0.9 times the font size wide (0.7 times beside many
/// lines)
/// with lines of text on both sides. The gutter next to the most lines is used, and the areas above it, left of it, right of it and below
/// it are divided in the same
/// way. So a title or a wide figure ends a pair of columns, and what is above it is read first. The order in which the file draws does not
/// matter.
/// </summary>
internal static partial class PageLayout
{
    private const double GutterWidth = 0.9,
        NarrowGutterWidth = 0.7,
        NarrowestColumn = 0.12,
        TableGap = 2.5;
    private const int FewestRows = 3,
        NarrowGutterRows = 6,
        DeepestCut = 12;

    /// <summary>The regions of one page.</summary>
    /// <param name="words">Words in any order.</param>
    /// <param name="width">Width of the page in points.</param>
    public static List<PdfRegion> Read(IReadOnlyList<PdfWord> words, double width)
    {
        var regions = new List<PdfRegion>();
        if (words.Count > 0)
            Cut(
                [.. words.OrderByDescending(w => w.Baseline).ThenBy(w => w.Left)],
                new Page(width, FindBodySize(words), IsRightToLeft(words)),
                regions,
                0
            );
        return regions;
    }

    private readonly record struct Page(double Width, double Size, bool IsRightToLeft);

    private static bool IsRightToLeft(IEnumerable<PdfWord> words) => words.Sum(w => BidiText.CountDirection(w.Text)) > 0;

    /// <summary>A white stripe and its vertical extent.</summary>
    private readonly record struct Gutter(double Left, double Right, double Top, double Bottom, int Rows)
    {
        public double Middle => (Left + Right) / 2;
    }

    // Most letters of a page belong to its body text.
    private static double FindBodySize(IReadOnlyList<PdfWord> words) =>
        words.GroupBy(w => Math.Round(2 * w.Size) / 2, w => w.Text.Length).OrderByDescending(g => g.Sum()).ThenBy(g => g.Key).First().Key;

    private static void Cut(List<PdfWord> words, Page page, List<PdfRegion> regions, int depth)
    {
        if (words.Count == 0)
            return;
        if (depth >= DeepestCut || FindGutter(words, page) is not { } gutter)
        {
            regions.Add(new PdfRegion(Lines.Of(words, page)));
            return;
        }
        List<PdfWord> above = [],
            left = [],
            right = [],
            below = [];
        foreach (var word in words)
            (
                word.Baseline > gutter.Top ? above
                : word.Baseline < gutter.Bottom ? below
                : word.Right <= gutter.Middle ? left
                : right
            ).Add(word);
        Cut(above, page, regions, depth + 1);
        Cut(page.IsRightToLeft ? right : left, page, regions, depth + 1);
        Cut(page.IsRightToLeft ? left : right, page, regions, depth + 1);
        Cut(below, page, regions, depth + 1);
    }

    private static Gutter? FindGutter(List<PdfWord> words, Page page) =>
        FindGutter(words, page, GutterWidth * page.Size, FewestRows)
        ?? FindGutter(words, page, NarrowGutterWidth * page.Size, NarrowGutterRows);

    private static Gutter? FindGutter(List<PdfWord> words, Page page, double gap, int fewestRows)
    {
        var (from, to) = (words.Min(w => w.Left), words.Max(w => w.Right));
        var narrowest = NarrowestColumn * page.Width;
        Gutter? best = null;
        // A gutter begins where the longest line of its left column ends. Of edges that nearly coincide the last one is tried.
        foreach (var x in words.Select(w => w.Right).GroupBy(r => Math.Floor(2 * r), (_, edges) => edges.Max()))
        {
            if (x < from + narrowest || x + gap > to - narrowest)
                continue;
            var start = 0;
            for (var i = 0; i <= words.Count; i++)
            {
                if (i < words.Count && !(words[i].Left < x + gap && words[i].Right > x))
                    continue;
                // words[start..i] leave the stripe white. Words on the lines that end the stripe belong to those lines.
                var top = start == 0 ? double.PositiveInfinity : words[start - 1].Baseline - 0.5 * page.Size;
                var bottom = i == words.Count ? double.NegativeInfinity : words[i].Baseline + 0.5 * page.Size;
                if (
                    i - start >= 2 * fewestRows
                    && Measure(words, start, i, x, x + gap, top, bottom, page, fewestRows) is { } gutter
                    && (best is not { } b || IsBetter(gutter, b))
                )
                    best = gutter;
                start = i + 1;
            }
        }
        return best;
    }

    private static bool IsBetter(Gutter a, Gutter b) => a.Rows > b.Rows || (a.Rows == b.Rows && a.Right - a.Left > b.Right - b.Left + 0.01);

    private static Gutter? Measure(
        List<PdfWord> words,
        int start,
        int end,
        double x0,
        double x1,
        double top,
        double bottom,
        Page page,
        int fewestRows
    )
    {
        Side left = new(page.Size),
            right = new(page.Size);
        for (var i = start; i < end; i++)
        {
            var word = words[i];
            if (word.Baseline > top || word.Baseline < bottom)
                continue;
            if (word.Right <= x0)
                left.Add(word);
            else
                right.Add(word);
        }
        if (!left.IsColumn(page.Width, fewestRows) || !right.IsColumn(page.Width, fewestRows))
            return null;
        return right.Left > left.Right ? new Gutter(left.Right, right.Left, top, bottom, Math.Min(left.Rows, right.Rows)) : null;
    }

    /// <summary>The text on one side of a stripe, counted line by line. Words come from top to bottom.</summary>
    private sealed class Side(double size)
    {
        private double _baseline = double.PositiveInfinity,
            _left = double.PositiveInfinity,
            _rowLeft,
            _rowRight,
            _covered;
        private int _words;

        public int Rows { get; private set; }

        public double Left => _left;

        public double Right { get; private set; } = double.NegativeInfinity;

        public void Add(PdfWord word)
        {
            if (_baseline - word.Baseline > 0.5 * size)
            {
                _covered += _rowRight - _rowLeft;
                (_rowLeft, _rowRight) = (word.Left, word.Right);
                _baseline = word.Baseline;
                Rows++;
            }
            (_rowLeft, _rowRight) = (Math.Min(_rowLeft, word.Left), Math.Max(_rowRight, word.Right));
            (_left, Right) = (Math.Min(_left, word.Left), Math.Max(Right, word.Right));
            _words++;
        }

        // Running text fills its column. Cells of a table, labels of a list and marks of an axis do not.
        public bool IsColumn(double pageWidth, int fewestRows) =>
            (Rows >= fewestRows || (Rows == fewestRows - 1 && _words >= 5 * Rows && Right - _left >= 0.3 * pageWidth))
            && Right - _left >= NarrowestColumn * pageWidth
            && _words >= 2.5 * Rows
            && (_covered + _rowRight - _rowLeft) / Rows >= 0.5 * (Right - _left);
    }

    // Dots that lead from a heading to its page number.
    [GeneratedRegex(@"(?:\s?\.){4,}\s*")]
    private static partial Regex Leaders();

    private static class Lines
    {
        public static List<PdfLine> Of(List<PdfWord> words, Page page)
        {
            var rows = new List<(double Baseline, double Size, List<PdfWord> Words)>();
            var body = FindBodySize(words);
            // Letters of full size form the lines. Small ones, raised or lowered, are then added to the line that they belong to.
            foreach (var word in words.Where(w => w.Size >= 0.8 * body))
                Add(rows, word, 0.4);
            foreach (var word in words.Where(w => w.Size < 0.8 * body))
                Add(rows, word, 0.65);
            var lines = rows.OrderByDescending(r => r.Baseline).Select(r => Line(r.Words, r.Baseline)).ToList();
            return lines.Exists(l => BidiText.HasRightToLeft(l.Text)) ? TurnAround(lines, IsRightToLeft(words), page) : lines;
        }

        private static void Add(List<(double Baseline, double Size, List<PdfWord> Words)> rows, PdfWord word, double reach)
        {
            var best = -1;
            for (var i = rows.Count - 1; i >= 0; i--)
            {
                var distance = Math.Abs(rows[i].Baseline - word.Baseline);
                if (
                    distance <= reach * Math.Max(rows[i].Size, word.Size)
                    && (best < 0 || distance < Math.Abs(rows[best].Baseline - word.Baseline))
                )
                    best = i;
            }
            if (best < 0)
                rows.Add((word.Baseline, word.Size, [word]));
            else
                rows[best].Words.Add(word);
        }

        // Text in reading order. Lines of paragraphs from right to left are mirrored, so that every line begins at its left edge.
        private static List<PdfLine> TurnAround(List<PdfLine> lines, bool isRightToLeft, Page page)
        {
            var (left, right) = (lines.Min(l => l.Left), lines.Max(l => l.Right));
            var drawn = lines.Sum(l => BidiText.CountDrawnBrackets(l.Text));
            return lines.ConvertAll(line =>
            {
                var direction = BidiText.CountDirection(line.Text);
                var (atLeft, atRight) = (line.Left - left < line.Size, right - line.Right < line.Size);
                // A line that is not full begins at the edge that it touches.
                var isReversed =
                    direction == line.Text.Count(char.IsLetter) || (atLeft == atRight || lines.Count < 2 ? isRightToLeft : atRight);
                var own = BidiText.CountDrawnBrackets(line.Text);
                return line with
                {
                    Text = BidiText.ToLogical(line.Text, isReversed, (own != 0 ? own : drawn) >= 0),
                    Left = isRightToLeft ? page.Width - line.Right : line.Left,
                    Right = isRightToLeft ? page.Width - line.Left : line.Right,
                    FirstWordWidth = isRightToLeft ? line.LastWordWidth : line.FirstWordWidth,
                };
            });
        }

        private static PdfLine Line(List<PdfWord> words, double baseline)
        {
            words.Sort((a, b) => a.Left.CompareTo(b.Left));
            var text = new StringBuilder();
            var gap = 0.0;
            for (var i = 0; i < words.Count; i++)
            {
                gap = i > 0 ? Math.Max(gap, words[i].Left - words[i - 1].Right) : 0;
                if (i > 0 && PageWords.IsSpace(words[i].Left - words[i - 1].Right, Math.Max(words[i].Size, words[i - 1].Size)))
                    text.Append(' ');
                text.Append(words[i].Text);
            }
            var (size, nearlyAll) = (FindBodySize(words), 0.8 * words.Sum(w => w.Text.Length));
            var plain = Leaders().Replace(text.ToString(), " ... ");
            return new PdfLine(
                plain,
                words[0].Left,
                words.Max(w => w.Right),
                baseline,
                size,
                words.Where(w => w.IsBold).Sum(w => w.Text.Length) > nearlyAll,
                words[0].Right - words[0].Left
            )
            {
                LastWordWidth = words[^1].Right - words[^1].Left,
                IsTabular = gap > TableGap * size || plain.Length != text.Length,
                IsFixed = words.Where(w => w.IsFixed).Sum(w => w.Text.Length) > nearlyAll,
            };
        }
    }
}
