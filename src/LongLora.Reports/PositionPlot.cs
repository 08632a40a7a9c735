using System.Globalization;
using LongLora.Evaluation;

namespace LongLora.Reports;

/// <summary>Draws the loss by position in the window, which shows whether distant context is used.</summary>
internal static class PositionPlot
{
    private const int Width = 500,
        Height = 250,
        Top = PictureCanvas.HeadingHeight + 18;

    /// <summary>Draws one curve for each context and writes a PNG of 1000 x 500 pixels.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="results">One result per context; if empty, nothing is written.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<PerplexityResult> results, string title)
    {
        var chart = new LineChart
        {
            Lines =
            [
                .. results.Select(
                    (result, i) =>
                        new ChartLine(
                            string.Create(CultureInfo.InvariantCulture, $"{(i == 0 ? "context " : "")}{result.Context:N0}"),
                            [.. result.ByPosition.Select(bin => ((double)bin.From, bin.Loss))],
                            i
                        )
                ),
            ],
            XTitle = "preceding tokens, from",
            YTitle = "loss (nats per token)",
            IsLog = true,
        };
        if (chart.Lines.Count == 0)
            return;
        var canvas = new PictureCanvas(Width, Height);
        canvas.DrawHeading(title);
        chart.Draw(canvas, new(0, Top, Width, Height - Top));
        canvas.DrawLegend(Width - 20, Top - 3, [.. chart.Lines.Select(l => (l.Name, l.Style, false))]);
        canvas.Save(path);
    }
}
