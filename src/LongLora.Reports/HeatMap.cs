using LongLora.Evaluation;
using LongLora.Runtime;
using ScottPlot;

namespace LongLora.Reports;

/// <summary>Share of right answers by the length of the document and the depth of the answer in it.</summary>
public static class HeatMap
{
    private const int Width = 900, Height = 480, DepthBands = 5;

    /// <summary>Draws and saves the picture.</summary>
    /// <param name="path">A .png file.</param>
    /// <param name="results">One result a length.</param>
    /// <param name="title">Shown above.</param>
    public static void Save(string path, IReadOnlyList<RetrievalAtLength> results, string title)
    {
        var shares = Shares(results);
        using var plot = new Plot();
        var map = plot.Add.Heatmap(shares);
        map.Colormap = new ScottPlot.Colormaps.Viridis();
        map.ManualRange = new ScottPlot.Range(0, 1);
        map.NaNCellColor = Colors.LightGray;
        for (var band = 0; band < DepthBands; band++)
        {
            for (var column = 0; column < results.Count; column++)
            {
                if (double.IsNaN(shares[band, column]))
                    continue;
                var text = plot.Add.Text($"{shares[band, column]:P0}", column, DepthBands - 1 - band);
                (text.LabelFontSize, text.LabelAlignment, text.LabelBold) = (15, Alignment.MiddleCenter, true);
                text.LabelFontColor = shares[band, column] > 0.6 ? Colors.Black : Colors.White;
            }
        }
        plot.Axes.Bottom.SetTicks([.. Enumerable.Range(0, results.Count).Select(i => (double)i)], [.. results.Select(r => $"{r.Length:N0}")]);
        plot.Axes.Left.SetTicks([.. Enumerable.Range(0, DepthBands).Select(i => (double)i)], [.. Enumerable.Range(0, DepthBands).Reverse().Select(BandName)]);
        plot.Axes.Title.Label.Text = title;
        plot.Axes.Bottom.Label.Text = "document length in tokens";
        plot.Axes.Left.Label.Text = "depth of the answer";
        plot.Add.ColorBar(map);
        plot.HideGrid();
        var image = plot.GetImageBytes(Width, Height, ImageFormat.Png);
        AtomicFile.Write(path, stream => stream.Write(image));
    }

    /// <summary>[depth band, length]: the share of right answers; NaN where there was no question.</summary>
    internal static double[,] Shares(IReadOnlyList<RetrievalAtLength> results)
    {
        var shares = new double[DepthBands, results.Count];
        for (var column = 0; column < results.Count; column++)
        {
            for (var band = 0; band < DepthBands; band++)
            {
                var trials = results[column].Trials.Where(t => Math.Min(DepthBands - 1, (int)(t.Depth * DepthBands)) == band).ToList();
                shares[band, column] = trials.Count == 0 ? double.NaN : trials.Average(t => t.IsRight ? 1.0 : 0.0);
            }
        }
        return shares;
    }

    private static string BandName(int band) => $"{100 * band / DepthBands} to {100 * (band + 1) / DepthBands} %";
}
