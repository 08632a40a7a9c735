using LongLora.Evaluation;
using LongLora.Runtime;
using ScottPlot;

namespace LongLora.Reports;

/// <summary>Scores by the length of the document, and by the depth of the answer in it or by the task.</summary>
public static class HeatMap
{
    private const int Width = 900,
        Height = 480,
        DepthBands = 5;

    /// <summary>Draws and saves the picture of one task: length against depth.</summary>
    /// <param name="path">A .png file.</param>
    /// <param name="results">One result a length.</param>
    /// <param name="title">Shown above.</param>
    public static void Save(string path, IReadOnlyList<RetrievalAtLength> results, string title)
    {
        var all = Shares(results);
        // Topics asks for the first one always: one band says it all. Elsewhere a band without questions is drawn as such.
        int[] bands =
        [
            .. Enumerable
                .Range(0, DepthBands)
                .Where(band => Enumerable.Range(0, results.Count).Any(column => !double.IsNaN(all[band, column]))),
        ];
        if (bands.Length > 1)
            bands = [.. Enumerable.Range(0, DepthBands)];
        var shares = new double[bands.Length, results.Count];
        for (var row = 0; row < bands.Length; row++)
        {
            for (var column = 0; column < results.Count; column++)
                shares[row, column] = all[bands[row], column];
        }
        Draw(path, shares, [.. bands.Select(BandName)], [.. results.Select(r => $"{r.Length:N0}")], title, "depth of the answer");
    }

    /// <summary>Draws and saves the picture of several tasks: length against task.</summary>
    /// <param name="path">A .png file.</param>
    /// <param name="tasks">Name, and one result a length, the same lengths for all.</param>
    /// <param name="title">Shown above.</param>
    public static void Save(string path, IReadOnlyList<(string Name, IReadOnlyList<RetrievalAtLength> Results)> tasks, string title)
    {
        var shares = new double[tasks.Count, tasks[0].Results.Count];
        for (var row = 0; row < tasks.Count; row++)
        {
            for (var column = 0; column < tasks[row].Results.Count; column++)
                shares[row, column] = tasks[row].Results[column].Accuracy;
        }
        Draw(path, shares, [.. tasks.Select(t => t.Name)], [.. tasks[0].Results.Select(r => $"{r.Length:N0}")], title, "");
    }

    // [row, column], the first row above.
    private static void Draw(string path, double[,] shares, string[] rows, string[] columns, string title, string rowTitle)
    {
        using var plot = new Plot();
        var map = plot.Add.Heatmap(shares);
        map.Colormap = new ScottPlot.Colormaps.Viridis();
        map.ManualRange = new ScottPlot.Range(0, 1);
        map.NaNCellColor = Colors.LightGray;
        for (var row = 0; row < rows.Length; row++)
        {
            for (var column = 0; column < columns.Length; column++)
            {
                if (double.IsNaN(shares[row, column]))
                    continue;
                var text = plot.Add.Text($"{shares[row, column]:P0}", column, rows.Length - 1 - row);
                (text.LabelFontSize, text.LabelAlignment, text.LabelBold) = (15, Alignment.MiddleCenter, true);
                text.LabelFontColor = shares[row, column] > 0.6 ? Colors.Black : Colors.White;
            }
        }
        plot.Axes.Bottom.SetTicks([.. Enumerable.Range(0, columns.Length).Select(i => (double)i)], columns);
        plot.Axes.Left.SetTicks([.. Enumerable.Range(0, rows.Length).Select(i => (double)i)], [.. rows.Reverse()]);
        plot.Axes.Title.Label.Text = title;
        plot.Axes.Bottom.Label.Text = "document length in tokens";
        plot.Axes.Left.Label.Text = rowTitle;
        plot.Add.ColorBar(map);
        plot.HideGrid();
        var image = plot.GetImageBytes(Width, Math.Max(Height, 140 + 42 * rows.Length), ImageFormat.Png);
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
                shares[band, column] = trials.Count == 0 ? double.NaN : trials.Average(t => t.Score);
            }
        }
        return shares;
    }

    private static string BandName(int band) => $"{100 * band / DepthBands} to {100 * (band + 1) / DepthBands} %";
}
