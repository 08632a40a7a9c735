using System.Globalization;
using System.Net;

namespace LongLora.Reports;

/// <summary>Line charts as inline SVG, in the colors of the page around them.</summary>
internal static class SvgChart
{
    private const int Width = 520,
        Height = 250,
        MostPointsInWords = 16;

    /// <summary>A chart with its legend.</summary>
    /// <param name="lines">The lines; without any points, the chart is a sentence that says so.</param>
    /// <param name="xTitle">Below the axis.</param>
    /// <param name="isLog">Whether the x axis is logarithmic; each x then has a tick.</param>
    /// <param name="range">Smallest and largest y; null for round numbers around the data.</param>
    /// <param name="format">How y is written; null for a plain number.</param>
    /// <param name="isWide">Whether y becomes logarithmic if its range is large (<see cref="LineChart.IsWide"/>).</param>
    internal static string Draw(
        IReadOnlyList<ChartLine> lines,
        string xTitle,
        bool isLog,
        (double Low, double High)? range = null,
        Func<double, string>? format = null,
        bool isWide = false
    )
    {
        var chart = new LineChart
        {
            Lines = lines,
            XTitle = xTitle,
            IsLog = isLog,
            Range = range,
            Format = format,
            IsWide = isWide,
        };
        if (chart.Lines.Count == 0)
            return "<p>There are no measurements.</p>";
        var canvas = new SvgCanvas();
        chart.Draw(canvas, new(0, 0, Width, Height));
        return canvas.Finish(Width, Height, Describe(chart.Lines, xTitle)) + WriteLegend(chart.Lines);
    }

    // The chart as text for people who cannot see it: each line's numbers, or only its ends if there are many.
    private static string Describe(IReadOnlyList<ChartLine> lines, string xTitle) =>
        $"By {xTitle}. "
        + string.Join(
            "; ",
            lines
                .Where(l => !l.IsFaint)
                .Select(l =>
                    $"{l.Name}: "
                    + string.Join(
                        ", ",
                        (l.Points.Count <= MostPointsInWords ? l.Points : [l.Points[0], l.Points[^1]]).Select(p =>
                            string.Create(CultureInfo.InvariantCulture, $"{p.Y:0.###} at {p.X:N0}")
                        )
                    )
                )
        );

    private static string WriteLegend(IReadOnlyList<ChartLine> lines)
    {
        var named = lines.Where(l => !l.IsFaint).ToList();
        return named.Count < 2
            ? ""
            : "<p class=\"legend\">"
                + string.Concat(named.Select(l => $"<span><i class=\"s{l.Style}\"></i>{WebUtility.HtmlEncode(l.Name)}</span>"))
                + "</p>";
    }
}
