using LongLora.Evaluation;

namespace LongLora.Studies;

/// <summary>What the quickstart found.</summary>
/// <param name="Before">The model as it came, by length.</param>
/// <param name="Rescaled">The same weights with rescaled positions: what the training begins with.</param>
/// <param name="After">The extended model.</param>
/// <param name="Training">What the training left.</param>
/// <param name="TrainingTime">Time of the training alone.</param>
/// <param name="TestText">What the perplexity was measured on.</param>
internal sealed record QuickstartResult(
    IReadOnlyList<LengthMeasure> Before,
    IReadOnlyList<LengthMeasure> Rescaled,
    IReadOnlyList<LengthMeasure> After,
    FineTuneResult Training,
    TimeSpan TrainingTime,
    string TestText
)
{
    /// <summary>The figures as <c>quickstart.json</c> has them.</summary>
    /// <param name="elapsed">Time of everything.</param>
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
