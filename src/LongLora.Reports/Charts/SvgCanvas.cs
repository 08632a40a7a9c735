using System.Globalization;
using System.Net;
using System.Text;

namespace LongLora.Reports;

/// <summary>A canvas of SVG elements, which take their colors and font from the page around them.</summary>
internal sealed class SvgCanvas : IChartCanvas
{
    private readonly StringBuilder _elements = new();

    /// <summary>The whole element.</summary>
    /// <param name="width">Units across.</param>
    /// <param name="height">Units down.</param>
    /// <param name="description">The picture in words.</param>
    internal string Finish(int width, int height, string description) =>
        $"<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{WebUtility.HtmlEncode(description)}\">\n{_elements}</svg>";

    public void DrawRule(double x1, double x2, double y) =>
        Append($"<line class=\"axis\" x1=\"{x1}\" x2=\"{x2}\" y1=\"{y:F1}\" y2=\"{y:F1}\"/>");

    public void DrawText(double x, double y, string text, TextAnchor anchor, bool isTitle = false)
    {
        var kind = isTitle ? " class=\"title\"" : "";
        var place = anchor.ToString().ToLowerInvariant();
        Append($"<text x=\"{x:0.#}\" y=\"{y:0.#}\" text-anchor=\"{place}\"{kind}>{WebUtility.HtmlEncode(text)}</text>\n");
    }

    public void DrawLine(IReadOnlyList<(double X, double Y)> points, int style, bool isFaint)
    {
        var path = string.Join(' ', points.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.X:F1},{p.Y:F1}")));
        Append($"<polyline class=\"line s{style}{(isFaint ? " faint" : "")}\" points=\"{path}\"/>\n");
    }

    public void DrawDots(IReadOnlyList<(double X, double Y)> points, int style)
    {
        foreach (var (x, y) in points)
            Append($"<circle class=\"dot s{style}\" cx=\"{x:F1}\" cy=\"{y:F1}\" r=\"3.5\"/>");
        _elements.Append('\n');
    }

    private void Append(FormattableString element) => _elements.Append(element.ToString(CultureInfo.InvariantCulture));
}
