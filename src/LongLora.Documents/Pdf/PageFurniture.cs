using System.Globalization;
using System.Text.RegularExpressions;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Removes running headers, footers and page numbers: rows at the edge of a page that repeat on other pages at the same height (except for
/// digits), that contain the page number, that are only a number, or that a browser printed (date, title, address). It works from the edge
/// inwards and stops at the first other row.
/// </summary>
internal static partial class PageFurniture
{
    private const int DeepestRow = 3;
    private const double SameHeight = 4;

    /// <summary>Removes the rows from the regions of all pages of a document.</summary>
    /// <param name="pages">Pages in order, each with its regions and its height in points.</param>
    public static void Remove(IReadOnlyList<(double Height, List<PdfRegion> Regions)> pages)
    {
        var rows = new List<Row>();
        for (var page = 0; page < pages.Count; page++)
        {
            var all = GroupRows(pages[page].Regions, page);
            for (var i = 0; i < Math.Min(DeepestRow, (all.Count + 1) / 2); i++)
            {
                rows.Add(all[i] with { Rank = i, IsTop = true });
                if (all.Count - 1 - i > i)
                    rows.Add(all[all.Count - 1 - i] with { Rank = i, IsTop = false });
            }
        }
        var offset = FindNumberOffset(rows, pages.Count);
        var keys = rows.ToLookup(r => (r.Key, r.IsTop));
        var dropped = new HashSet<PdfLine>(ReferenceEqualityComparer.Instance);
        foreach (var edge in rows.GroupBy(r => (r.Page, r.IsTop)))
        {
            foreach (
                var row in edge.OrderBy(r => r.Rank)
                    .TakeWhile(r =>
                        Repeats(r, keys, pages.Count)
                        || IsNumbered(r, offset)
                        || IsLoneNumber(r, pages[r.Page].Height)
                        || IsPrintMark(r, pages[r.Page].Height)
                    )
            )
                dropped.UnionWith(row.Lines);
        }
        foreach (var (_, regions) in pages)
        {
            foreach (var region in regions)
                region.Lines.RemoveAll(dropped.Contains);
            regions.RemoveAll(r => r.Lines.Count == 0);
        }
    }

    /// <summary>All lines of a page at the same height.</summary>
    private sealed record Row(int Page, double Baseline, IReadOnlyList<PdfLine> Lines)
    {
        public int Rank { get; init; }

        public bool IsTop { get; init; }

        public string Text { get; } = string.Join(' ', Lines.OrderBy(l => l.Left).Select(l => l.Text));

        public string Key => MatchDigits().Replace(Text.ToLowerInvariant(), "#");
    }

    [GeneratedRegex(@"[0-9]+|(?<![\p{L}\p{N}])[ivxlc]+(?![\p{L}\p{N}])")]
    private static partial Regex MatchDigits();

    [GeneratedRegex(
        @"^(?:page\s+)?[-–—\[(]?\s*(?<n>[0-9]{1,5}|[ivxlc]{1,8})\s*[-–—\])]?(?:\s*(?:of|/)\s*[0-9]+)?\.?$",
        RegexOptions.IgnoreCase
    )]
    private static partial Regex MatchLoneNumber();

    [GeneratedRegex(@"^(?<n>[0-9]{1,5})(?!\S)|(?<!\S)(?<n>[0-9]{1,5})(?:\s*(?:of|/)\s*[0-9]+)?$")]
    private static partial Regex MatchEdgeNumber();

    // Browsers print the date with the title above a page, and its address with the page number below, or the other way round.
    [GeneratedRegex(
        @"^(?:(?:https?|file)://\S+|about:blank)(?:\s+[0-9]+\s*/\s*[0-9]+)?$|^\S.*\s(?:https?|file)://\S+$"
            + @"|^[0-9]{1,4}[./-]\s?[0-9]{1,2}[./-]\s?[0-9]{1,4},?\s+[0-9]{1,2}[:.][0-9]{2}(?:[:.][0-9]{2})?"
            + @"(?:\s?[AaPp]\.?\s?[Mm]\.?)?(?:\s|$)"
            + @"|^[0-9]+\s+(?:of|/)\s+[0-9]+\s+[0-9]{1,4}[./-]\s?[0-9]{1,2}[./-]\s?[0-9]{1,4},?\s+[0-9]{1,2}[:.][0-9]{2}"
    )]
    private static partial Regex MatchPrintMark();

    private static bool IsPrintMark(Row row, double height) =>
        (row.Baseline < 0.05 * height || row.Baseline > 0.95 * height) && MatchPrintMark().IsMatch(row.Text);

    private static List<Row> GroupRows(List<PdfRegion> regions, int page)
    {
        var rows = new List<Row>();
        foreach (var line in regions.SelectMany(r => r.Lines).OrderByDescending(l => l.Baseline))
        {
            if (rows.Count > 0 && rows[^1].Baseline - line.Baseline < 0.3 * line.Size)
                rows[^1] = new Row(page, rows[^1].Baseline, [.. rows[^1].Lines, line]);
            else
                rows.Add(new Row(page, line.Baseline, [line]));
        }
        return rows;
    }

    private static IEnumerable<int> FindNumbers(Row row) =>
        MatchEdgeNumber()
            .Matches(row.Text)
            .Select(m => int.Parse(m.Groups["n"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture));

    // Printed page number minus page index: the same on most pages if pages are numbered.
    private static int? FindNumberOffset(List<Row> rows, int pageCount)
    {
        var best = rows.SelectMany(r => FindNumbers(r).Select(n => (Offset: n - r.Page, r.Page)))
            .Distinct()
            .CountBy(o => o.Offset)
            .OrderByDescending(o => o.Value)
            .ThenBy(o => o.Key)
            .FirstOrDefault();
        return best.Value >= Math.Max(3, 0.4 * pageCount) ? best.Key : null;
    }

    private static bool IsNumbered(Row row, int? offset) => offset is { } o && FindNumbers(row).Contains(row.Page + o);

    private static bool Repeats(Row row, ILookup<(string, bool), Row> keys, int pageCount)
    {
        var others = keys[(row.Key, row.IsTop)]
            .Where(r => Math.Abs(r.Baseline - row.Baseline) <= SameHeight)
            .DistinctBy(r => r.Page)
            .Count();
        return others >= (row.Rank == 0 || pageCount <= 5 ? 2 : 3);
    }

    private static bool IsLoneNumber(Row row, double height) =>
        MatchLoneNumber().IsMatch(row.Text) && (row.Baseline < 0.1 * height || row.Baseline > 0.9 * height);
}
