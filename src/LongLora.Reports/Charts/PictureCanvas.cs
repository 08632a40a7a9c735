namespace LongLora.Reports;

/// <summary>A canvas of pixels, two to a unit, on white.</summary>
/// <param name="width">Units across.</param>
/// <param name="height">Units down.</param>
internal sealed class PictureCanvas(int width, int height) : IChartCanvas
{
    private const int Scale = 2;
    private const double LabelSize = 12,
        TitleSize = 14,
        LegendLine = 16,
        LegendGap = 14;

    private readonly Picture _picture = new(Scale * width, Scale * height);

    /// <summary>The heading of the picture, which takes <see cref="HeadingHeight"/> units at its top.</summary>
    internal void DrawHeading(string text) => Write(12, 20, text, TitleSize, Rgb.Ink, TextAnchor.Start, isBold: true);

    /// <summary>Units that a heading takes.</summary>
    internal const int HeadingHeight = 30;

    public void DrawRule(double x1, double x2, double y) => _picture.Fill(Scale * x1, Scale * y - 1, Scale * (x2 - x1), 2, Rgb.Rule);

    public void DrawText(double x, double y, string text, TextAnchor anchor, bool isTitle = false) =>
        Write(x, y, text, LabelSize, Rgb.Soft, anchor);

    public void DrawLine(IReadOnlyList<(double X, double Y)> points, int style, bool isFaint) =>
        _picture.Draw([ToPixels(points)], Scale * (isFaint ? 0.8 : 1.6), Rgb.Lines[style % Rgb.Lines.Length], isFaint ? 0.45 : 1);

    public void DrawDots(IReadOnlyList<(double X, double Y)> points, int style) =>
        _picture.Draw(ToPixels(points).Select(p => new[] { p }), Scale * 6, Rgb.Lines[style % Rgb.Lines.Length]);

    /// <summary>A filled rectangle, such as a bar.</summary>
    internal void FillRectangle(ChartArea area, Rgb color) =>
        _picture.Fill(Scale * area.X, Scale * area.Y, Scale * area.Width, Scale * area.Height, color);

    /// <summary>A number in a filled rectangle.</summary>
    internal void DrawCell(ChartArea area, Rgb color, string text, Rgb ink)
    {
        FillRectangle(area, color);
        Write(area.X + area.Width / 2, area.Y + area.Height / 2 + 0.35 * LabelSize, text, LabelSize, ink, TextAnchor.Middle, isBold: true);
    }

    /// <summary>Names of lines or bars beside samples of their color, on one line that ends at <paramref name="right"/>.</summary>
    internal void DrawLegend(double right, double y, IReadOnlyList<(string Name, int Style, bool IsFaint)> names)
    {
        foreach (var (name, style, isFaint) in names.Reverse())
        {
            right -= Measure(name);
            Write(right, y, name, LabelSize, Rgb.Soft, TextAnchor.Start);
            right -= LegendLine + 5;
            DrawLine([(right, y - 0.35 * LabelSize), (right + LegendLine, y - 0.35 * LabelSize)], style, isFaint);
            right -= LegendGap;
        }
    }

    /// <summary>Units that a label is wide.</summary>
    internal static double Measure(string text) => StrokeFont.Lay(text).Width * LabelSize / StrokeFont.UnitsInSize;

    /// <summary>Saves the picture as PNG.</summary>
    internal void Save(string path) => _picture.Save(path);

    private void Write(double x, double y, string text, double size, Rgb color, TextAnchor anchor, bool isBold = false) =>
        _picture.Write(Scale * x, Scale * y, text, Scale * size, color, anchor, isBold);

    private static (double X, double Y)[] ToPixels(IReadOnlyList<(double X, double Y)> points) =>
        [.. points.Select(p => (Scale * p.X, Scale * p.Y))];
}
