using System.Globalization;
using System.Net;
using System.Text;

namespace LongLora.Reports;

/// <summary>One line of a chart.</summary>
/// <param name="Name">In the legend.</param>
/// <param name="Points">Its points; those that are not finite are left out.</param>
/// <param name="Style">Number of its colour; lines of one thing have the same colour everywhere.</param>
/// <param name="IsFaint">Whether it is drawn thin and pale, without a place in the legend: raw values behind a smoothed line.</param>
internal sealed record ChartLine(string Name, IReadOnlyList<(double X, double Y)> Points, int Style, bool IsFaint = false);

/// <summary>Line charts as inline SVG, in the colours of the page around them.</summary>
internal static class SvgChart
{
    private const int Width = 520,
        Height = 250,
        Left = 56,
        Right = 20,
        Top = 10,
        Bottom = 48,
        YTicks = 4;

    /// <summary>A chart with its legend.</summary>
    /// <param name="lines">The lines; the chart is empty text where none has a point.</param>
    /// <param name="xTitle">Below the axis.</param>
    /// <param name="isLog">Whether the x axis is logarithmic; each x then has a tick.</param>
    /// <param name="range">Least and greatest y; null for round numbers around what is there.</param>
    /// <param name="format">How y is written; null for a plain number.</param>
    /// <param name="isWide">
    /// Whether y becomes logarithmic where its greatest value is more than three times the least: otherwise one steep line would press
    /// the others flat.
    /// </param>
    internal static string Draw(
        IReadOnlyList<ChartLine> lines,
        string xTitle,
        bool isLog,
        (double Low, double High)? range = null,
        Func<double, string>? format = null,
        bool isWide = false
    )
    {
        lines =
        [
            .. lines
                .Select(l => l with { Points = [.. l.Points.Where(p => double.IsFinite(p.Y) && double.IsFinite(p.X))] })
                .Where(l => l.Points.Count > 0),
        ];
        if (lines.Count == 0)
            return "<p>Nothing was measured.</p>";
        double Place(double x) => isLog ? Math.Log2(Math.Max(x, 1e-9)) : x;
        var xs = lines.SelectMany(l => l.Points.Select(p => p.X)).Distinct().Order().ToList();
        var (first, last) = (Place(xs[0]), Place(xs[^1]));
        var ys = lines.SelectMany(l => l.Points.Select(p => p.Y)).ToList();
        var isLogY = isWide && ys.Min() > 0 && ys.Max() > 3 * ys.Min();
        var ticks =
            range is { } given ? Enumerable.Range(0, YTicks + 1).Select(i => given.Low + (given.High - given.Low) * i / YTicks).ToList()
            : isLogY ? Doubling(ys)
            : Round(ys);
        double X(double x) => Left + 8 + (last > first ? (Place(x) - first) / (last - first) : 0.5) * (Width - Left - Right - 16);
        double High(double y) => isLogY ? Math.Log2(y) : y;
        double Y(double y) => Top + (High(ticks[^1]) - High(y)) / (High(ticks[^1]) - High(ticks[0])) * (Height - Top - Bottom);
        format ??= Plain(ticks[1] - ticks[0]);

        var svg = new StringBuilder(
            string.Create(
                CultureInfo.InvariantCulture,
                $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{WebUtility.HtmlEncode(Words(lines, xTitle))}\">\n"
            )
        );
        foreach (var tick in ticks)
            svg.Append(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"<line class=\"axis\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Y(tick):F1}\" y2=\"{Y(tick):F1}\"/><text "
                        + $"x=\"{Left - 7}\" y=\"{Y(tick) + 4:F1}\" text-anchor=\"end\">{format(tick)}</text>\n"
                )
            );
        foreach (var x in isLog ? Spread(xs) : Round(xs).Where(t => t >= xs[0] && t <= xs[^1]))
            svg.Append(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"<text x=\"{X(x):F1}\" y=\"{Height - 27}\" text-anchor=\"middle\">{x:N0}</text>\n"
                )
            );
        svg.Append(
            string.Create(
                CultureInfo.InvariantCulture,
                $"<text x=\"{(Width + Left) / 2}\" y=\"{Height - 6}\" text-anchor=\"middle\" "
                    + $"class=\"title\">{WebUtility.HtmlEncode(xTitle)}</text>\n"
            )
        );
        foreach (var line in lines)
        {
            var style = line.IsFaint ? $"line s{line.Style} faint" : $"line s{line.Style}";
            var points = line.Points.Select(p =>
                string.Create(CultureInfo.InvariantCulture, $"{X(p.X):F1},{Y(Math.Clamp(p.Y, ticks[0], ticks[^1])):F1}")
            );
            svg.Append($"<polyline class=\"{style}\" points=\"{string.Join(' ', points)}\"/>\n");
            if (line.Points.Count <= 16 && !line.IsFaint)
                svg.Append(
                        string.Concat(
                            line.Points.Select(p =>
                                string.Create(
                                    CultureInfo.InvariantCulture,
                                    $"<circle class=\"dot s{line.Style}\" cx=\"{X(p.X):F1}\" "
                                        + $"cy=\"{Y(Math.Clamp(p.Y, ticks[0], ticks[^1])):F1}\" r=\"3.5\"/>"
                                )
                            )
                        )
                    )
                    .Append('\n');
        }
        return svg.Append("</svg>").Append(Legend(lines)).ToString();
    }

    // The chart for who cannot see it: each line's numbers, or those of its ends where there are many.
    private static string Words(IReadOnlyList<ChartLine> lines, string xTitle) =>
        $"By {xTitle}. "
        + string.Join(
            "; ",
            lines
                .Where(l => !l.IsFaint)
                .Select(l =>
                    $"{l.Name}: "
                    + string.Join(
                        ", ",
                        (l.Points.Count <= 16 ? l.Points : [l.Points[0], l.Points[^1]]).Select(p =>
                            string.Create(CultureInfo.InvariantCulture, $"{p.Y:0.###} at {p.X:N0}")
                        )
                    )
                )
        );

    private static string Legend(IReadOnlyList<ChartLine> lines)
    {
        var named = lines.Where(l => !l.IsFaint).ToList();
        var entries = named.Select(l => $"<span><i class=\"s{l.Style}\"></i>{WebUtility.HtmlEncode(l.Name)}</span>");
        return named.Count < 2 ? "" : $"<p class=\"legend\">{string.Concat(entries)}</p>";
    }

    /// <summary>Round numbers, evenly spread, from below the least value to above the greatest.</summary>
    internal static List<double> Round(IEnumerable<double> values)
    {
        var all = values.ToList();
        var (low, high) = (all.Min(), all.Max());
        if (high - low < 1e-9 * Math.Max(1, Math.Abs(high)))
            (low, high) = (low - 0.5, high + 0.5);
        var rough = (high - low) / YTicks;
        var power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = new[] { 1, 2, 2.5, 5, 10 }.Select(m => m * power).First(s => s >= rough * 0.999);
        var ticks = new List<double>();
        for (var i = Math.Floor(low / step + 1e-9); ticks.Count == 0 || ticks[^1] < high - step * 1e-9; i++)
            ticks.Add(i * step);
        return ticks;
    }

    /// <summary>Numbers that double, from below the least value to above the greatest.</summary>
    internal static List<double> Doubling(IReadOnlyList<double> values)
    {
        var tick = Math.Pow(2, Math.Floor(Math.Log2(values.Min()) + 1e-9));
        var ticks = new List<double> { tick };
        while (tick < values.Max() * (1 - 1e-9))
            ticks.Add(tick *= 2);
        var every = (ticks.Count + 6) / 8;
        return [.. ticks.Where((_, i) => (ticks.Count - 1 - i) % Math.Max(1, every) == 0 || i == 0)];
    }

    // At most eight labels of an axis of doubled lengths.
    private static IEnumerable<double> Spread(List<double> xs)
    {
        var every = (xs.Count + 7) / 8;
        return xs.Where((_, i) => (xs.Count - 1 - i) % every == 0);
    }

    private static Func<double, string> Plain(double step)
    {
        var digits = Math.Clamp((int)Math.Ceiling(-Math.Log10(step) - 1e-9), 0, 4);
        digits += Math.Abs(step * Math.Pow(10, digits) % 1) > 1e-6 ? 1 : 0; // steps of 2.5
        return value => value.ToString("N" + digits, CultureInfo.InvariantCulture);
    }
}
