using LongLora.Reports;
using LongLora.Training;
using SkiaSharp;

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
    public void Save_draws_curve_and_text_without_fonts_of_the_system()
    {
        LossPlot.Save(At("with.png"), [.. Enumerable.Range(1, 100).Select(i => Step(i, 5 - Math.Log10(i)))], "A title to be read");
        LossPlot.Save(At("without.png"), [.. Enumerable.Range(1, 100).Select(i => Step(i, 5 - Math.Log10(i)))], ".");
        using SKBitmap with = SKBitmap.Decode(At("with.png")),
            without = SKBitmap.Decode(At("without.png"));
        Assert.Equal((1200, 700), (with.Width, with.Height));
        var smoothed = Pixels(with, 0, with.Height, c => c is { Blue: > 100, Red: < 40, Green: < 40 });
        Assert.True(smoothed > 1000, $"{smoothed} pixels of the smoothed curve");
        // The title's letters are the only thing dark in the top rows.
        Assert.True(Pixels(with, 0, 30, IsDark) > 100);
        Assert.InRange(Pixels(without, 0, 30, IsDark), 1, 20);
    }

    [Fact]
    public void Save_single_step_is_drawn_and_no_step_writes_nothing()
    {
        LossPlot.Save(At("one.png"), [Step(1, 3)], "one");
        Assert.True(new FileInfo(At("one.png")).Length > 1000);
        LossPlot.Save(At("none.png"), [], "none");
        Assert.False(File.Exists(At("none.png")));
    }

    private static bool IsDark(SKColor color) => color.Red + color.Green + color.Blue < 150;

    private static int Pixels(SKBitmap picture, int top, int bottom, Func<SKColor, bool> wanted) =>
        Enumerable.Range(top, bottom - top).Sum(y => Enumerable.Range(0, picture.Width).Count(x => wanted(picture.GetPixel(x, y))));
}
