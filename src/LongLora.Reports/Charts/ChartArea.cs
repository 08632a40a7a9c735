namespace LongLora.Reports;

/// <summary>Where a chart is drawn on its canvas.</summary>
internal readonly record struct ChartArea(double X, double Y, double Width, double Height);
