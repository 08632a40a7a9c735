using LongLora.Runtime;
using LongLora.Training;
using ScottPlot;

namespace LongLora.Reports;

/// <summary>The loss curve of a run as a picture.</summary>
public static class LossPlot
{
    /// <summary>Draws loss, smoothed loss, and the learning rate below, and writes a PNG of 1200 x 700 pixels.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="steps">The steps of the run; with none nothing is written.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<TrainingStep> steps, string title)
    {
        if (steps.Count == 0)
            return;
        double[] x = [.. steps.Select(s => (double)s.Step)],
            losses = [.. steps.Select(s => s.Loss)];
        var figure = new Multiplot();
        figure.AddPlots(2);
        var loss = figure.GetPlot(0);
        loss.Title(title);
        var raw = loss.Add.Scatter(x, losses);
        (raw.MarkerSize, raw.LineWidth, raw.Color, raw.LegendText) = (
            steps.Count == 1 ? 6 : 0,
            1,
            Colors.SteelBlue.WithAlpha(0.45),
            "each step"
        );
        if (steps.Count > 4)
        {
            var smooth = loss.Add.Scatter(x, Smooth(losses));
            (smooth.MarkerSize, smooth.LineWidth, smooth.Color, smooth.LegendText) = (0, 2.5f, Colors.DarkBlue, "smoothed");
        }
        loss.YLabel("loss (nats per token)");
        loss.ShowLegend(Alignment.UpperRight);
        var rate = figure.GetPlot(1);
        var line = rate.Add.Scatter(x, steps.Select(s => s.LearningRate).ToArray());
        (line.MarkerSize, line.LineWidth, line.Color) = (steps.Count == 1 ? 6 : 0, 1.5f, Colors.DarkOrange);
        rate.YLabel("learning rate");
        rate.XLabel("optimizer step");
        foreach (var plot in figure.GetPlots())
        {
            plot.Grid.MajorLineColor = Colors.Black.WithAlpha(0.08);
            plot.Axes.Left.MinimumSize = 80;
        }
        var rows = new ScottPlot.MultiplotLayouts.CustomGrid();
        rows.Set(loss, new GridCell(0, 0, 3, 1, 2, 1));
        rows.Set(rate, new GridCell(2, 0, 3, 1));
        figure.Layout = rows;
        var image = figure.Render(1200, 700).GetImageBytes(ImageFormat.Png);
        AtomicFile.Write(path, stream => stream.Write(image));
    }

    // Exponential mean with a span of a twentieth of the run, corrected for its start.
    internal static double[] Smooth(double[] values)
    {
        var keep = 1 - 2.0 / (Math.Clamp(values.Length / 20.0, 3, 100) + 1);
        var smooth = new double[values.Length];
        double sum = 0,
            weight = 0;
        for (var i = 0; i < values.Length; i++)
        {
            sum = keep * sum + (1 - keep) * values[i];
            weight = keep * weight + (1 - keep);
            smooth[i] = sum / weight;
        }
        return smooth;
    }
}
