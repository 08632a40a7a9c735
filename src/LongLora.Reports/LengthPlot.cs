using LongLora.Runtime;
using ScottPlot;

namespace LongLora.Reports;

/// <summary>How long the documents of a corpus are, as a picture.</summary>
public static class LengthPlot
{
    /// <summary>
    /// Draws two bars for each range of lengths, its share of the documents and of all tokens, and writes a PNG of 1000 x 500 pixels.
    /// </summary>
    /// <param name="path">The file to write.</param>
    /// <param name="bins">Name of each range, its documents, and their lengths together; with none nothing is written.</param>
    /// <param name="unit">What lengths are: tokens or characters.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<(string Range, long Documents, long Length)> bins, string unit, string title)
    {
        if (bins.Count == 0)
            return;
        using var plot = new Plot();
        plot.Title(title);
        Bars(plot, bins.Select(b => b.Documents), -0.2, Colors.SteelBlue, "of the documents");
        Bars(plot, bins.Select(b => b.Length), 0.2, Colors.DarkOrange, $"of all {unit}");
        plot.Axes.Bottom.TickGenerator = new ScottPlot.TickGenerators.NumericManual(
            [.. bins.Select((_, i) => (double)i)],
            [.. bins.Select(b => b.Range)]
        );
        plot.Axes.Bottom.MajorTickStyle.Length = 0;
        plot.XLabel($"{unit} in a document, from");
        plot.YLabel("share (%)");
        plot.Axes.SetLimitsX(-0.7, bins.Count - 0.3);
        plot.Axes.Margins(bottom: 0);
        plot.Grid.XAxisStyle.IsVisible = false;
        plot.Grid.MajorLineColor = Colors.Black.WithAlpha(0.08);
        plot.ShowLegend(Alignment.UpperLeft);
        var image = plot.GetImage(1000, 500).GetImageBytes(ImageFormat.Png);
        AtomicFile.Write(path, stream => stream.Write(image));
    }

    private static void Bars(Plot plot, IEnumerable<long> values, double offset, Color color, string name)
    {
        double[] counts = [.. values.Select(v => (double)v)];
        var bars = counts.Select(
            (count, i) =>
                new Bar
                {
                    Position = i + offset,
                    Value = 100 * count / counts.Sum(),
                    Size = 0.38,
                    FillColor = color,
                    LineWidth = 0,
                }
        );
        plot.Add.Bars(bars.ToList()).LegendText = name;
    }
}
