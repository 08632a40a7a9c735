using BigGustave;
using LongLora.Reports;
using LongLora.Training;

namespace LongLora.Cli.Tests;

public class LossPlotTests : CliRun
{
    private static TrainingStep Step(int number, double loss) =>
        new()
        {
            Step = number,
            Steps = 100,
            Loss = loss,
            LearningRate = 1e-3,
            GradientNorm = 1,
            Tokens = 1,
            TokensPerSecond = 1,
            Elapsed = TimeSpan.Zero,
            MemoryBytes = 1,
            PeakMemoryBytes = 1,
        };

    [Fact]
    public void Save_draws_curve_and_text()
    {
        LossPlot.Save(At("with.png"), [.. Enumerable.Range(1, 100).Select(i => Step(i, 5 - Math.Log10(i)))], "A title to be read");
        LossPlot.Save(At("without.png"), [.. Enumerable.Range(1, 100).Select(i => Step(i, 5 - Math.Log10(i)))], ".");
        Png with = Png.Open(At("with.png")),
            without = Png.Open(At("without.png"));
        Assert.Equal((1200, 700), (with.Width, with.Height));
        var smoothed = CountPixels(with, 0, with.Height, c => c is { R: < 50, G: > 90 and < 130, B: > 160 });
        Assert.True(smoothed > 1000, $"{smoothed} pixels of the smoothed curve");
        // The heading's letters are the only thing dark in the top rows.
        Assert.InRange(CountPixels(with, 0, 60, IsDark), 500, 5000);
        Assert.InRange(CountPixels(without, 0, 60, IsDark), 1, 20);
    }

    [Fact]
    public void Save_single_step_is_drawn_and_no_step_writes_nothing()
    {
        LossPlot.Save(At("one.png"), [Step(1, 3)], "one");
        Assert.True(new FileInfo(At("one.png")).Length > 1000);
        LossPlot.Save(At("none.png"), [], "none");
        Assert.False(File.Exists(At("none.png")));
    }

    private static bool IsDark(Pixel color) => color.R + color.G + color.B < 150;

    private static int CountPixels(Png picture, int top, int bottom, Func<Pixel, bool> isWanted) =>
        Enumerable.Range(top, bottom - top).Sum(y => Enumerable.Range(0, picture.Width).Count(x => isWanted(picture.GetPixel(x, y))));
}
