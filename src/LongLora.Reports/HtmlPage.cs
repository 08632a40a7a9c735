using System.Net;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Reports;

/// <summary>
/// A self-contained HTML page without scripts, fonts or other files. It supports light and dark mode and phones.
/// </summary>
internal sealed class HtmlPage(string title)
{
    private static readonly string s_head = $"<style>\n{ReadStyles()}</style>";

    private readonly StringBuilder _body = new();

    /// <summary>Number of colors of lines.</summary>
    internal const int Styles = 6;

    private static string ReadStyles()
    {
        using var stream = typeof(HtmlPage).Assembly.GetManifestResourceStream("LongLora.Reports.report.css")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }

    internal static string Encode(string text) => WebUtility.HtmlEncode(text);

    internal HtmlPage Add(string html)
    {
        _body.Append(html).Append('\n');
        return this;
    }

    internal HtmlPage AddHeading(int level, string text) => Add($"<h{level}>{Encode(text)}</h{level}>");

    internal HtmlPage AddParagraph(string text, string style = "lead") =>
        text.Length == 0 ? this : Add($"<p class=\"{style}\">{Encode(text)}</p>");

    /// <summary>Boxes side by side if there is space.</summary>
    internal HtmlPage AddFigures(IReadOnlyList<(string Title, string Html)> figures) =>
        figures.Count == 0
            ? this
            : Add(
                "<div class=\"figures\">"
                    + string.Concat(figures.Select(f => $"<div class=\"figure\"><h3>{Encode(f.Title)}</h3>\n{f.Html}</div>\n"))
                    + "</div>"
            );

    /// <summary>Single numbers with labels.</summary>
    internal HtmlPage AddNumbers(IReadOnlyList<(string Name, string Value)> numbers, string style = "numbers") =>
        numbers.Count == 0
            ? this
            : Add($"<ul class=\"{style}\">{string.Concat(numbers.Select(n => $"<li><b>{Encode(n.Value)}</b>{Encode(n.Name)}</li>"))}</ul>");

    /// <summary>A table that scrolls horizontally if it is too wide.</summary>
    internal static string WriteTable(IReadOnlyList<string> heads, IEnumerable<IReadOnlyList<string>> rows, string style = "")
    {
        var of = style.Length > 0 ? $" class=\"{style}\"" : "";
        var head = heads.Count > 0 ? $"<tr>{WriteColumnHeads(heads)}</tr>\n" : "";
        var body = rows.Select(r => WriteRow(r[0], r.Skip(1).Select(c => $"<td>{Encode(c)}</td>")));
        return $"<div class=\"wide\" tabindex=\"0\"><table{of}>{head}{string.Concat(body)}</table></div>";
    }

    /// <summary>Scores from 0 to 1 as a table of colors; null if there is none.</summary>
    internal static string WriteHeat(IReadOnlyList<string> columns, IReadOnlyList<(string Name, IReadOnlyList<double?> Scores)> rows) =>
        $"<div class=\"wide\" tabindex=\"0\"><table class=\"heat\"><tr><td></td>{WriteColumnHeads(columns)}</tr>\n"
        + string.Concat(rows.Select(r => WriteRow(r.Name, r.Scores.Select(WriteCell))))
        + "</table></div>";

    private static string WriteColumnHeads(IEnumerable<string> heads) =>
        string.Concat(heads.Select(h => $"<th scope=\"col\">{Encode(h)}</th>"));

    private static string WriteRow(string head, IEnumerable<string> cells) =>
        $"<tr><th scope=\"row\">{Encode(head)}</th>{string.Concat(cells)}</tr>\n";

    private static string WriteCell(double? score)
    {
        if (score is not { } value)
            return "<td></td>";
        var (color, ink) = (Rgb.ChooseFor(value), Rgb.ChooseInkFor(value) == Rgb.Black ? "#000" : "#fff");
        var style = $"background:rgb({color.Red},{color.Green},{color.Blue});color:{ink}";
        return $"<td style=\"{style}\">{(int)Math.Round(100 * value)} %</td>";
    }

    internal void Write(string path) =>
        AtomicFile.WriteText(
            path,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                + "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                + $"<title>{Encode(title)}</title>\n{s_head}\n</head>\n<body>\n<main>\n{_body}</main>\n</body>\n</html>\n"
        );
}
