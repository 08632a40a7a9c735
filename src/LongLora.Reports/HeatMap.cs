using System.Globalization;
using LongLora.Evaluation;

namespace LongLora.Reports;

/// <summary>Heat maps of scores by document length, and by the depth of the answer or by task.</summary>
internal static class HeatMap
{
    private const int Width = 450,
        SmallestHeight = 240,
        SmallestCell = 21,
        Margin = 12,
        Gap = 7,
        Top = 52,
        Bottom = 46,
        DepthBands = 5;

    /// <summary>Draws and saves the picture of one task: length against depth.</summary>
    /// <param name="path">A .png file.</param>
    /// <param name="results">One result per length.</param>
    /// <param name="title">Shown above.</param>
    public static void Save(string path, IReadOnlyList<RetrievalAtLength> results, string title)
    {
        var all = ComputeShares(results);
        // The topics task always asks for the first topic, so one band is enough. In other tasks, bands without questions are drawn as
        // empty.
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
        Draw(path, shares, [.. bands.Select(NameBand)], [.. results.Select(r => $"{r.Length:N0}")], title, "depth of the answer");
    }

    /// <summary>Draws and saves the picture of several tasks: length against task.</summary>
    /// <param name="path">A .png file.</param>
    /// <param name="tasks">Name, and one result per length, the same lengths for all.</param>
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

    // [row, column], with the first row on top; cells without questions are gray.
    private static void Draw(string path, double[,] shares, string[] rows, string[] columns, string title, string rowTitle)
    {
        var left = Margin + rows.Max(PictureCanvas.Measure) + Gap;
        var (wide, high) = (
            (Width - left - Margin) / columns.Length,
            Math.Max(SmallestCell, (SmallestHeight - Top - Bottom) / rows.Length)
        );
        var canvas = new PictureCanvas(Width, (int)(Top + high * rows.Length + Bottom));
        canvas.DrawHeading(title);
        canvas.DrawText(Margin, Top - 8, rowTitle, TextAnchor.Start);
        for (var row = 0; row < rows.Length; row++)
        {
            canvas.DrawText(left - Gap, Top + high * (row + 0.5) + 4, rows[row], TextAnchor.End);
            for (var column = 0; column < columns.Length; column++)
            {
                var share = shares[row, column];
                var cell = new ChartArea(left + wide * column + 1, Top + high * row + 1, wide - 2, high - 2);
                if (double.IsNaN(share))
                    canvas.FillRectangle(cell, Rgb.Empty);
                else
                    canvas.DrawCell(
                        cell,
                        Rgb.ChooseFor(share),
                        string.Create(CultureInfo.InvariantCulture, $"{share:P0}"),
                        Rgb.ChooseInkFor(share)
                    );
            }
        }
        for (var column = 0; column < columns.Length; column++)
            canvas.DrawText(left + wide * (column + 0.5), Top + high * rows.Length + 17, columns[column], TextAnchor.Middle);
        canvas.DrawText(left + (Width - left - Margin) / 2, Top + high * rows.Length + 38, "document length in tokens", TextAnchor.Middle);
        canvas.Save(path);
    }

    /// <summary>[depth band, length]: the share of correct answers; NaN without questions.</summary>
    internal static double[,] ComputeShares(IReadOnlyList<RetrievalAtLength> results)
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

    private static string NameBand(int band) => $"{100 * band / DepthBands} to {100 * (band + 1) / DepthBands} %";
}
