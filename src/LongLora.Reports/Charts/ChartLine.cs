namespace LongLora.Reports;

/// <summary>One line of a chart.</summary>
/// <param name="Name">In the legend.</param>
/// <param name="Points">Its points; those that are not finite are left out.</param>
/// <param name="Style">Index of its color; the same thing has the same color everywhere.</param>
/// <param name="IsFaint">Whether it is thin and pale, for raw values behind a smoothed line. Pages leave it out of the legend.</param>
internal sealed record ChartLine(string Name, IReadOnlyList<(double X, double Y)> Points, int Style, bool IsFaint = false);
