using System.Net;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Reports;

/// <summary>
/// One HTML page that needs nothing else: no script, no font, no other file. Light or dark as the reader's system is, and readable on a
/// phone.
/// </summary>
internal sealed class HtmlPage(string title)
{
    // Colours of lines: two that stay apart for the colour-blind come first, then further ones.
    private const string Head = """
        <style>
        :root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --soft: #5f6b76; --rule: #d9dfe5; --card: #f5f7f9; --c0: #c0561e; --c1: #1f6fb2; --c2: #2b8a5b; --c3: #8a4fb0; --c4: #a8760a; --c5: #b23a5e; }
        @media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e4e8ec; --soft: #9aa6b1; --rule: #333b43; --card: #1c2126; --c0: #f0905a; --c1: #68b1ea; --c2: #63c795; --c3: #c192e6; --c4: #dcb04c; --c5: #ef8aa6; } }
        * { box-sizing: border-box; }
        body { font: 16px/1.55 system-ui, sans-serif; background: var(--paper); color: var(--ink); max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
        h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.3rem; margin: 2.2rem 0 .3rem; border-top: 1px solid var(--rule); padding-top: 1.2rem; } h3 { font-size: 1rem; margin: 0 0 .5rem; }
        .lead { color: var(--soft); max-width: 46rem; } .note { color: var(--soft); font-size: .875rem; }
        .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem; margin: 1rem 0; }
        .figure { background: var(--card); border-radius: .6rem; padding: .9rem 1rem; min-width: 0; }
        .numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
        .numbers li { background: var(--card); border-radius: .6rem; padding: .6rem .8rem; color: var(--soft); font-size: .8125rem; } .numbers b { display: block; color: var(--ink); font-size: 1.2rem; font-variant-numeric: tabular-nums; }
        .found { grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); } .found b { font-size: 1.6rem; } .found li { border-left: .25rem solid var(--c1); }
        .wide { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9375rem; }
        th, td { text-align: right; padding: .3rem .55rem; border-bottom: 1px solid var(--rule); white-space: nowrap; } th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; } th:first-child { text-align: left; } th[scope=row] { color: var(--ink); font-weight: 400; white-space: nowrap; }
        table.heat { border-spacing: 2px; border-collapse: separate; } .heat td { border: 0; border-radius: .3rem; text-align: center; } .heat th { text-align: center; border: 0; } .heat th[scope=row] { text-align: left; color: var(--soft); }
        table.options td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; } table.options { width: auto; }
        svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 13px system-ui, sans-serif; } svg .axis { stroke: var(--rule); }
        svg .line { fill: none; stroke: currentColor; stroke-width: 2.5; stroke-linejoin: round; } svg .faint { stroke-width: 1; opacity: .45; } svg .dot { fill: currentColor; }
        .s0 { color: var(--c0); } .s1 { color: var(--c1); } .s2 { color: var(--c2); } .s3 { color: var(--c3); } .s4 { color: var(--c4); } .s5 { color: var(--c5); }
        .legend { margin: .4rem 0 0; font-size: .875rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; } .legend i { display: inline-block; width: 1.1rem; height: .2rem; background: currentColor; margin-right: .4rem; vertical-align: middle; }
        @media (max-width: 30rem) { table { font-size: .8125rem; } th, td { padding: .3rem .25rem; } svg text { font-size: 16px; } }
        details { margin: 1rem 0; } summary { cursor: pointer; color: var(--soft); } pre { background: var(--card); border-radius: .6rem; padding: .8rem 1rem; overflow-x: auto; font-size: .8125rem; line-height: 1.45; }
        </style>
        """;

    private readonly StringBuilder _body = new();

    /// <summary>Number of colours of lines.</summary>
    internal const int Styles = 6;

    internal static string Encode(string text) => WebUtility.HtmlEncode(text);

    internal HtmlPage Add(string html)
    {
        _body.Append(html).Append('\n');
        return this;
    }

    internal HtmlPage Heading(int level, string text) => Add($"<h{level}>{Encode(text)}</h{level}>");

    internal HtmlPage Paragraph(string text, string style = "lead") =>
        text.Length == 0 ? this : Add($"<p class=\"{style}\">{Encode(text)}</p>");

    /// <summary>Boxes beside each other where there is room.</summary>
    internal HtmlPage Figures(IReadOnlyList<(string Title, string Html)> figures) =>
        figures.Count == 0
            ? this
            : Add(
                "<div class=\"figures\">"
                    + string.Concat(figures.Select(f => $"<div class=\"figure\"><h3>{Encode(f.Title)}</h3>\n{f.Html}</div>\n"))
                    + "</div>"
            );

    /// <summary>Single numbers with what they are.</summary>
    internal HtmlPage Numbers(IReadOnlyList<(string Name, string Value)> numbers, string style = "numbers") =>
        numbers.Count == 0
            ? this
            : Add($"<ul class=\"{style}\">{string.Concat(numbers.Select(n => $"<li><b>{Encode(n.Value)}</b>{Encode(n.Name)}</li>"))}</ul>");

    /// <summary>A table that scrolls by itself where it is too wide.</summary>
    internal static string Table(IReadOnlyList<string> heads, IEnumerable<IReadOnlyList<string>> rows, string style = "")
    {
        var of = style.Length > 0 ? $" class=\"{style}\"" : "";
        var head = heads.Count > 0 ? $"<tr>{ColumnHeads(heads)}</tr>\n" : "";
        var body = rows.Select(r => Row(r[0], r.Skip(1).Select(c => $"<td>{Encode(c)}</td>")));
        return $"<div class=\"wide\" tabindex=\"0\"><table{of}>{head}{string.Concat(body)}</table></div>";
    }

    /// <summary>Scores from 0 to 1 as a table of colours; null where there is none.</summary>
    internal static string Heat(IReadOnlyList<string> columns, IReadOnlyList<(string Name, IReadOnlyList<double?> Scores)> rows) =>
        $"<div class=\"wide\" tabindex=\"0\"><table class=\"heat\"><tr><td></td>{ColumnHeads(columns)}</tr>\n"
        + string.Concat(rows.Select(r => Row(r.Name, r.Scores.Select(Cell))))
        + "</table></div>";

    private static string ColumnHeads(IEnumerable<string> heads) => string.Concat(heads.Select(h => $"<th scope=\"col\">{Encode(h)}</th>"));

    private static string Row(string head, IEnumerable<string> cells) =>
        $"<tr><th scope=\"row\">{Encode(head)}</th>{string.Concat(cells)}</tr>\n";

    // Viridis between dark blue (0) and yellow (1), in five steps with straight lines between.
    private static string Cell(double? score)
    {
        if (score is not { } value)
            return "<td></td>";
        (int R, int G, int B)[] colours = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)];
        var place = Math.Clamp(value, 0, 1) * (colours.Length - 1);
        var (low, share) = ((int)Math.Min(place, colours.Length - 2), place - Math.Min((int)place, colours.Length - 2));
        int Mix(Func<(int R, int G, int B), int> part) =>
            (int)Math.Round(part(colours[low]) * (1 - share) + part(colours[low + 1]) * share);
        var color = value > 0.6 ? "#000" : "#fff";
        return $"<td style=\"background:rgb({Mix(c => c.R)},{Mix(c => c.G)},{Mix(c => c.B)});color:{color}\">"
            + $"{(int)Math.Round(100 * value)} %</td>";
    }

    internal void Write(string path) =>
        AtomicFile.WriteText(
            path,
            $"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                + $"content=\"width=device-width, "
                + $"initial-scale=1\">\n<title>{Encode(title)}</title>\n{Head}\n</head>\n<body>\n<main>\n{_body}</main>\n</body>\n</html>\n"
        );
}
