namespace LongLora.Reports;

/// <summary>A surface for charts: elements of a page, or pixels. x goes right, y goes down.</summary>
internal interface IChartCanvas
{
    /// <summary>A horizontal grid line.</summary>
    void DrawRule(double x1, double x2, double y);

    /// <summary>A label, or the title of an axis.</summary>
    void DrawText(double x, double y, string text, TextAnchor anchor, bool isTitle = false);

    /// <summary>A line of the chart through points.</summary>
    void DrawLine(IReadOnlyList<(double X, double Y)> points, int style, bool isFaint);

    /// <summary>A dot on each point of a line.</summary>
    void DrawDots(IReadOnlyList<(double X, double Y)> points, int style);
}
