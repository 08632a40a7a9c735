using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Lines in reading order -> paragraphs, one line of text each. A paragraph that continues in the next column or on the next page is
/// joined, skipping footnotes and captions in between, which follow it. Words split by a hyphen are joined.
/// </summary>
internal sealed partial class PdfParagraphs
{
    private const int FarthestContinuation = 12;

    private readonly HashSet<string> _words = new(StringComparer.OrdinalIgnoreCase);
    private readonly double _bodySize;
    private readonly bool _hasCode;

    private PdfParagraphs(List<PdfLine> lines)
    {
        // If everything is set in a fixed-width font, the font says nothing about code.
        _hasCode = lines.Count(l => l.IsFixed) < 0.5 * lines.Count;
        var sizes = new Dictionary<double, int>();
        foreach (var line in lines)
        {
            var size = Math.Round(2 * line.Size) / 2;
            sizes[size] = sizes.GetValueOrDefault(size) + line.Text.Length;
            // The first and the last word of a line may be parts of a word.
            var words = Word().Matches(line.Text);
            for (var i = 1; i < words.Count - 1; i++)
                _words.Add(words[i].Value);
        }
        _bodySize = sizes.Count > 0 ? sizes.OrderByDescending(s => s.Value).ThenBy(s => s.Key).First().Key : 10;
    }

    /// <summary>The text of a document, with an empty line between paragraphs.</summary>
    public static string Join(IReadOnlyList<PdfRegion> regions)
    {
        var joiner = new PdfParagraphs([.. regions.SelectMany(r => r.Lines)]);
        var paragraphs = regions.SelectMany(joiner.Split).ToList();
        joiner.JoinContinued(paragraphs);
        var text = new StringBuilder();
        foreach (var paragraph in paragraphs.Where(p => p.Text.Length > 0))
            text.Append(text.Length > 0 ? "\n\n" : "").Append(paragraph.Text);
        return text.ToString();
    }

    /// <summary>Lines that belong together, and what is needed to see whether they continue elsewhere.</summary>
    private sealed class Paragraph(PdfRegion region)
    {
        public StringBuilder Text { get; } = new();

        public PdfRegion Region { get; } = region;

        public required PdfLine First { get; init; }

        public required PdfLine Last { get; set; }

        public bool IsIndented { get; init; }

        public bool IsCode { get; init; }
    }

    [GeneratedRegex(@"\p{L}+(?:[-\u2010]\p{L}+)*")]
    private static partial Regex Word();

    [GeneratedRegex(@"(?<head>\p{L}+(?:-\p{L}+)*)[-\u2010]$")]
    private static partial Regex CutWord();

    [GeneratedRegex(@"^\p{L}+")]
    private static partial Regex FirstLetters();

    [GeneratedRegex(@"[.!?:;\u2026][)\]""'\u2019\u201D\d*\u2020\u2021]*$")]
    private static partial Regex Ended();

    [GeneratedRegex(@"^[\u2022\u25CF\u25AA\u25E6\u2023\u2043\u00B7\u2219\uF0B7*\u2013\u2014-]\s")]
    private static partial Regex Bullet();

    [GeneratedRegex(@"^(?:\(?(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)]|\[\d{1,4}\])\s")]
    private static partial Regex Label();

    [GeneratedRegex(@"(?:https?://|www\.|ftp://)\S*[./_=&?-]$")]
    private static partial Regex OpenAddress();

    [GeneratedRegex(@"^(?:fig(?:ure|\.)|table|algorithm|listing|plate)\s*\d+", RegexOptions.IgnoreCase)]
    private static partial Regex Caption();

    private List<Paragraph> Split(PdfRegion region)
    {
        var (lines, paragraphs) = (region.Lines, new List<Paragraph>());
        for (var i = 0; i < lines.Count; i++)
        {
            var code = _hasCode ? lines.Skip(i).TakeWhile(l => l.IsFixed).Count() : 0;
            if (code >= 2)
            {
                paragraphs.Add(MakeCode(region, lines.GetRange(i, code)));
                i += code - 1;
            }
            else if (i == 0 || paragraphs[^1].IsCode || IsBreak(region, i))
            {
                paragraphs.Add(
                    new Paragraph(region)
                    {
                        First = lines[i],
                        Last = lines[i],
                        IsIndented = IsIndented(lines, i),
                    }
                );
                paragraphs[^1].Text.Append(lines[i].Text);
            }
            else
            {
                if (lines[i].IsTabular && lines[i - 1].IsTabular)
                    paragraphs[^1].Text.Append('\n').Append(lines[i].Text);
                else
                    Append(paragraphs[^1].Text, lines[i].Text);
                paragraphs[^1].Last = lines[i];
            }
        }
        return paragraphs;
    }

    // Code keeps its lines, its empty lines and, measured by the width of its letters, its indentation.
    private static Paragraph MakeCode(PdfRegion region, List<PdfLine> lines)
    {
        var code = new Paragraph(region)
        {
            First = lines[0],
            Last = lines[^1],
            IsCode = true,
        };
        var left = lines.Min(l => l.Left);
        var widths = lines.Select(l => (l.Right - l.Left) / l.Text.Length).Order().ToList();
        for (var i = 0; i < lines.Count; i++)
        {
            if (i > 0)
                code.Text.Append(lines[i - 1].Baseline - lines[i].Baseline > 1.6 * region.Pitch ? "\n\n" : "\n");
            code.Text.Append(' ', Math.Min(80, (int)Math.Round((lines[i].Left - left) / widths[widths.Count / 2]))).Append(lines[i].Text);
        }
        return code;
    }

    private static bool IsIndented(List<PdfLine> lines, int i) =>
        i + 1 < lines.Count
        && lines[i].Left - lines[i + 1].Left > 0.7 * lines[i].Size
        && lines[i].Left - lines[i + 1].Left < 4 * lines[i].Size;

    private static bool IsBreak(PdfRegion region, int i)
    {
        var (before, line) = (region.Lines[i - 1], region.Lines[i]);
        var size = Math.Max(before.Size, line.Size);
        if (before.Baseline - line.Baseline > 1.3 * Math.Max(region.Pitch, 1.05 * Math.Min(before.Size, line.Size)))
            return true;
        if (
            Math.Abs(before.Size - line.Size) > 0.12 * size
            || (before.IsBold != line.IsBold && !IsCut(before))
            || Bullet().IsMatch(line.Text)
        )
            return true;
        if (IsCut(before))
            return false;
        // If the first word would have fit on the line before, the author ended that line.
        var (isEnded, left) = (Ended().IsMatch(before.Text), region.Right - before.Right);
        var wouldFit = left > line.FirstWordWidth + 1.2 * size;
        if (wouldFit && (isEnded || left > 0.3 * region.Width))
            return true;
        if (!isEnded && !wouldFit)
            return false;
        if (Label().IsMatch(line.Text))
            return true;
        // An indented first line (not the second line of an item), or the first line of an entry whose other lines are indented.
        var indent = line.Left - before.Left;
        if (indent > 0.7 * size && !Bullet().IsMatch(before.Text) && !Label().IsMatch(before.Text))
            return IsIndented(region.Lines, i) || (indent < 4 * size && i + 1 == region.Lines.Count);
        return indent < -0.7 * size && i + 1 < region.Lines.Count && region.Lines[i + 1].Left - line.Left > 0.7 * size;
    }

    private static bool IsCut(PdfLine line) => CutWord().IsMatch(line.Text);

    // Skips paragraphs of other sizes in between: footnotes and captions.
    private void JoinContinued(List<Paragraph> paragraphs)
    {
        for (var i = paragraphs.Count - 1; i >= 0; i--)
        {
            var open = paragraphs[i];
            if (!IsBody(open) || Ended().IsMatch(open.Last.Text) || !EndsRegion(paragraphs, i))
                continue;
            for (var j = i + 1; j < Math.Min(paragraphs.Count, i + FarthestContinuation); j++)
            {
                var next = paragraphs[j];
                if (next.Text.Length == 0 || next.Region == open.Region || !IsBody(next))
                    continue;
                if (DoesContinue(open, next))
                {
                    Append(open.Text, next.Text.ToString());
                    open.Last = next.Last;
                    next.Text.Clear();
                }
                break;
            }
        }
    }

    private bool IsBody(Paragraph paragraph) =>
        !paragraph.IsCode && Math.Abs(paragraph.First.Size - _bodySize) <= 0.07 * _bodySize && !Caption().IsMatch(paragraph.First.Text);

    private bool EndsRegion(List<Paragraph> paragraphs, int i)
    {
        for (var j = i + 1; j < paragraphs.Count && paragraphs[j].Region == paragraphs[i].Region; j++)
        {
            if (IsBody(paragraphs[j]))
                return false;
        }
        return true;
    }

    private static bool DoesContinue(Paragraph open, Paragraph next)
    {
        if (open.Last.IsBold != next.First.IsBold || Bullet().IsMatch(next.First.Text))
            return false;
        var first = next.First.Text[0];
        if (IsCut(open.Last) || char.IsLower(first))
            return true;
        // A capital letter or a sign may also continue a paragraph, if the line before is full and this one does not start a paragraph.
        var isFull = open.Region.Right - open.Last.Right < 1.5 * open.Last.Size;
        return isFull && !next.IsIndented && open.Region != next.Region && open.Text.Length > 80;
    }

    private void Append(StringBuilder text, string next)
    {
        var tail = text.ToString(Math.Max(0, text.Length - 80), Math.Min(80, text.Length));
        var cut = CutWord().Match(tail);
        if (!cut.Success || OpenAddress().IsMatch(tail) || next.Length == 0 || FirstLetters().Match(next) is not { Success: true } rest)
        {
            var isOneWord =
                next.Length > 0
                && ((tail.EndsWith('-') && char.IsDigit(next[0])) || (OpenAddress().IsMatch(tail) && char.IsAsciiLetterOrDigit(next[0])));
            text.Append(isOneWord || (tail.Length > 0 && next.Length > 0 && IsUnspaced(tail[^1]) && IsUnspaced(next[0])) ? "" : " ")
                .Append(next);
            return;
        }
        var (head, end) = (cut.Groups["head"].Value, rest.Value);
        if (IsOneWord(head, end))
            text.Length--;
        text.Append(next);
    }

    // Chinese and Japanese have no spaces, so the end of a line is none either.
    private static bool IsUnspaced(char c) =>
        c
            is (>= '\u2E80' and <= '\u312F')
                or (>= '\u31A0' and <= '\uA4CF')
                or (>= '\uF900' and <= '\uFAFF')
                or (>= '\uFF01' and <= '\uFF9F');

    // "long-" + "context" keeps its hyphen if the document also writes it with a hyphen elsewhere and never without. Before a capital
    // letter it is always kept.
    private bool IsOneWord(string head, string end)
    {
        if (!char.IsLower(end[0]))
            return false;
        var last = head[(head.LastIndexOf('-') + 1)..];
        if (_words.Contains(last + end))
            return true;
        return !_words.Contains($"{head}-{end}") && !(head.Contains('-', StringComparison.Ordinal) && _words.Contains(end));
    }
}
