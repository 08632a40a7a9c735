using LongLora.Evaluation;
using LongLora.Runtime;
using ScottPlot;

namespace LongLora.Reports;

/// <summary>The loss by position in the window as a picture: whether far context is used at all.</summary>
public static class PositionPlot
{
    /// <summary>Draws one curve for each context and writes a PNG of 1000 x 500 pixels.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="results">One result a context.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<PerplexityResult> results, string title)
    {
        using var plot = new Plot();
        plot.Title(title);
        foreach (var result in results)
        {
            // Bins double, so that their numbers are positions on a logarithmic axis.
            double[] x = [.. result.ByPosition.Select(bin => Math.Log2(bin.From))];
            var line = plot.Add.Scatter(x, result.ByPosition.Select(bin => bin.Loss).ToArray());
            (line.LineWidth, line.MarkerSize, line.LegendText) = (2.5f, 6, $"context {result.Context:N0}");
        }
        var froms = results.SelectMany(r => r.ByPosition.Select(bin => bin.From)).Distinct().Order().ToList();
        plot.Axes.Bottom.SetTicks([.. froms.Select(from => Math.Log2(from))], [.. froms.Select(from => $"{from:N0}")]);
        plot.XLabel("tokens before, from");
        plot.YLabel("loss (nats per token)");
        plot.Grid.MajorLineColor = Colors.Black.WithAlpha(0.08);
        plot.ShowLegend(Alignment.UpperRight);
        var image = plot.GetImage(1000, 500).GetImageBytes(ImageFormat.Png);
        AtomicFile.Write(path, stream => stream.Write(image));
    }
}
