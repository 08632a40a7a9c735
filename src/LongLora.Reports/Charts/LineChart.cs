using System.Globalization;

namespace LongLora.Reports;

/// <summary>The layout of a line chart, independent of the canvas.</summary>
internal sealed record LineChart
{
    private const int Left = 56,
        Right = 20,
        Inset = 8, // between the axis and the first point
        MostDots = 16,
        PartHeight = 36, // between two labels of the y axis
        MostParts = 4;

    private readonly IReadOnlyList<ChartLine> _lines = [];

    /// <summary>The lines. Lines without points and points that are not finite are left out.</summary>
    internal required IReadOnlyList<ChartLine> Lines
    {
        get => _lines;
        init =>
            _lines = [
                .. value
                    .Select(l => l with { Points = [.. l.Points.Where(p => double.IsFinite(p.Y) && double.IsFinite(p.X))] })
                    .Where(l => l.Points.Count > 0),
            ];
    }

    /// <summary>Below the axis; empty for none.</summary>
    internal required string XTitle { get; init; }

    /// <summary>Above the axis; empty for none.</summary>
    internal string YTitle { get; init; } = "";

    /// <summary>Whether the x axis is logarithmic; each x then has a tick.</summary>
    internal bool IsLog { get; init; }

    /// <summary>Smallest and largest y; null for round numbers around the data.</summary>
    internal (double Low, double High)? Range { get; init; }

    /// <summary>Formats y; null for a plain number.</summary>
    internal Func<double, string>? Format { get; init; }

    /// <summary>
    /// Whether y becomes logarithmic if its largest value is more than three times the smallest; otherwise one steep line would flatten the
    /// others.
    /// </summary>
    internal bool IsWide { get; init; }

    /// <summary>Draws the chart; there must be at least one line.</summary>
    internal void Draw(IChartCanvas canvas, ChartArea area)
    {
        var xs = Lines.SelectMany(l => l.Points.Select(p => p.X)).Distinct().Order().ToList();
        var ys = Lines.SelectMany(l => l.Points.Select(p => p.Y)).ToList();
        var isLogY = IsWide && ys.Min() > 0 && ys.Max() > 3 * ys.Min();
        var (top, bottom) = (YTitle.Length > 0 ? 28 : 10, XTitle.Length > 0 ? 48 : 27);
        var parts = Math.Clamp((int)Math.Round((area.Height - top - bottom) / PartHeight), 1, MostParts);
        var ticks =
            Range is { } range ? Enumerable.Range(0, parts + 1).Select(i => range.Low + (range.High - range.Low) * i / parts).ToList()
            : isLogY ? ChartTicks.ListDoubling(ys)
            : ChartTicks.ListRound(ys, parts);
        double ScaleX(double x) => IsLog ? Math.Log2(Math.Max(x, 1e-9)) : x;
        double ScaleY(double y) => isLogY ? Math.Log2(y) : y;
        var (first, last, low, high) = (ScaleX(xs[0]), ScaleX(xs[^1]), ScaleY(ticks[0]), ScaleY(ticks[^1]));
        double X(double x) =>
            area.X + Left + Inset + (last > first ? (ScaleX(x) - first) / (last - first) : 0.5) * (area.Width - Left - Right - 2 * Inset);
        double Y(double y) => area.Y + top + (high - ScaleY(y)) / (high - low) * (area.Height - top - bottom);

        var format = Format ?? ChartTicks.ChooseFormat(ticks[1] - ticks[0]);
        foreach (var tick in ticks)
        {
            canvas.DrawRule(area.X + Left, area.X + area.Width - Right, Y(tick));
            canvas.DrawText(area.X + Left - 7, Y(tick) + 4, format(tick), TextAnchor.End);
        }
        foreach (var x in IsLog ? ChartTicks.Thin(xs) : ChartTicks.ListRound(xs).Where(t => t >= xs[0] && t <= xs[^1] && t % 1 == 0))
            canvas.DrawText(X(x), area.Y + area.Height - bottom + 21, x.ToString("N0", CultureInfo.InvariantCulture), TextAnchor.Middle);
        if (XTitle.Length > 0)
            canvas.DrawText(area.X + (area.Width + Left) / 2, area.Y + area.Height - 6, XTitle, TextAnchor.Middle, isTitle: true);
        if (YTitle.Length > 0)
            canvas.DrawText(area.X + Left, area.Y + 14, YTitle, TextAnchor.Start, isTitle: true);
        foreach (var line in Lines)
        {
            (double, double)[] points = [.. line.Points.Select(p => (X(p.X), Y(Math.Clamp(p.Y, ticks[0], ticks[^1]))))];
            canvas.DrawLine(points, line.Style, line.IsFaint);
            if (points.Length <= MostDots && !line.IsFaint)
                canvas.DrawDots(points, line.Style);
        }
    }
}
