using LongLora.Evaluation;

namespace LongLora.Studies;

/// <summary>The results of the quickstart.</summary>
/// <param name="Before">The original model, by length.</param>
/// <param name="Rescaled">The original weights with rescaled positions, from which training starts.</param>
/// <param name="After">The extended model.</param>
/// <param name="Training">The result of the training.</param>
/// <param name="TrainingTime">Time of training.</param>
/// <param name="TestText">The text that perplexity was measured on.</param>
internal sealed record QuickstartResult(
    IReadOnlyList<LengthMeasure> Before,
    IReadOnlyList<LengthMeasure> Rescaled,
    IReadOnlyList<LengthMeasure> After,
    FineTuneResult Training,
    TimeSpan TrainingTime,
    string TestText
)
{
    /// <summary>Converts the results to <c>quickstart.json</c>.</summary>
    /// <param name="elapsed">Total time.</param>
    public QuickstartFile ToFile(TimeSpan elapsed) =>
        new()
        {
            Before = Before,
            Rescaled = Rescaled,
            After = After,
            TestText = TestText,
            TrainingSeconds = TrainingTime.TotalSeconds,
            Seconds = elapsed.TotalSeconds,
        };
}
