using System.Globalization;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>Draws the loss curve of a run.</summary>
public static class LossPlot
{
    private const int Width = 600,
        Height = 350,
        LossHeight = 200,
        ShortestSmoothed = 5;

    /// <summary>Draws loss, smoothed loss, and the learning rate below, and writes a PNG of 1200 x 700 pixels.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="steps">The steps of the run; if empty, nothing is written.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<TrainingStep> steps, string title)
    {
        var smooth = Smooth([.. steps.Select(s => s.Loss)]);
        var loss = new LineChart
        {
            Lines =
            [
                new("each step", [.. steps.Select(s => ((double)s.Step, s.Loss))], 1, IsFaint: steps.Count >= ShortestSmoothed),
                .. steps.Count < ShortestSmoothed
                    ? Array.Empty<ChartLine>()
                    : [new("smoothed", [.. steps.Select((s, i) => ((double)s.Step, smooth[i]))], 1)],
            ],
            XTitle = "",
            YTitle = "loss (nats per token)",
        };
        if (loss.Lines.Count == 0)
            return;
        var rate = new LineChart
        {
            Lines = [new("learning rate", [.. steps.Select(s => ((double)s.Step, s.LearningRate))], 0)],
            XTitle = "optimizer step",
            YTitle = "learning rate",
            Format = WriteRate,
        };
        var canvas = new PictureCanvas(Width, Height);
        canvas.DrawHeading(title);
        loss.Draw(canvas, new(0, PictureCanvas.HeadingHeight, Width, LossHeight));
        canvas.DrawLegend(Width - 20, PictureCanvas.HeadingHeight + 14, [.. loss.Lines.Select(l => (l.Name, l.Style, l.IsFaint))]);
        rate.Draw(canvas, new(0, PictureCanvas.HeadingHeight + LossHeight, Width, Height - PictureCanvas.HeadingHeight - LossHeight));
        canvas.Save(path);
    }

    /// <summary>The exponential mean with a span of a twentieth of the run, corrected for its start.</summary>
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

    // 2e-5 instead of 0.0000.
    private static string WriteRate(double rate) => rate == 0 ? "0" : rate.ToString("0.##e-0", CultureInfo.InvariantCulture);
}
