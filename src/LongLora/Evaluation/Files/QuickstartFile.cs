namespace LongLora.Evaluation;

/// <summary>The results of a quickstart.</summary>
internal sealed record QuickstartFile() : EvaluationFile(KindName)
{
    internal const string KindName = "quickstart";

    /// <summary>The original model, by length.</summary>
    public required IReadOnlyList<LengthMeasure> Before { get; init; }

    /// <summary>The original weights with rescaled positions, not trained.</summary>
    public required IReadOnlyList<LengthMeasure> Rescaled { get; init; }

    /// <summary>The extended model.</summary>
    public required IReadOnlyList<LengthMeasure> After { get; init; }

    /// <summary>Description of the text that perplexity was measured on.</summary>
    public required string TestText { get; init; }

    /// <summary>Seconds of training.</summary>
    public required double TrainingSeconds { get; init; }

    /// <summary>Seconds in total.</summary>
    public required double Seconds { get; init; }
}
