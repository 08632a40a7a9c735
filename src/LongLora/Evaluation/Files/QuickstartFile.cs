namespace LongLora.Evaluation;

/// <summary>What a quickstart found.</summary>
internal sealed record QuickstartFile() : EvaluationFile(KindName)
{
    internal const string KindName = "quickstart";

    /// <summary>The model as it came, by length.</summary>
    public required IReadOnlyList<LengthMeasure> Before { get; init; }

    /// <summary>The same weights with rescaled positions, not trained.</summary>
    public required IReadOnlyList<LengthMeasure> Rescaled { get; init; }

    /// <summary>The extended model.</summary>
    public required IReadOnlyList<LengthMeasure> After { get; init; }

    /// <summary>What the perplexity was measured on, in words.</summary>
    public required string TestText { get; init; }

    /// <summary>Seconds of the training.</summary>
    public required double TrainingSeconds { get; init; }

    /// <summary>Seconds of everything.</summary>
    public required double Seconds { get; init; }
}
