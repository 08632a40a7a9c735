namespace LongLora.Evaluation;

/// <summary>What one run of a reproduction found.</summary>
internal sealed record ReproductionFile() : EvaluationFile(KindName)
{
    internal const string KindName = "reproduction";

    /// <summary>Name of the run.</summary>
    public required string Name { get; init; }

    /// <summary>Everything that the figures depend on, in words; a result with other words is not used again.</summary>
    public required string Made { get; init; }

    /// <summary>The measures by length.</summary>
    public required IReadOnlyList<LengthMeasure> Measures { get; init; }

    /// <summary>Perplexity at the longest length with the attention of the training; null if that is full.</summary>
    public double? OwnPatternPerplexity { get; init; }

    /// <summary>Weights that were trained.</summary>
    public long TrainedWeights { get; init; }

    /// <summary>Mean loss of the last quarter of the steps, in nats per token; null if nothing was trained.</summary>
    public double? TrainingLoss { get; init; }

    /// <summary>Seconds of training by the clock.</summary>
    public double TrainingSeconds { get; init; }

    /// <summary>Seconds that processors worked on the training; other work on the machine does not count.</summary>
    public double ProcessorSeconds { get; init; }

    /// <summary>FLOPs of attention's scores and sums in a step.</summary>
    public double AttentionFlops { get; init; }

    /// <summary>FLOPs of a step, all in all (<see cref="Training.StepFlops.Needed"/>).</summary>
    public double StepFlops { get; init; }

    private protected override bool IsIndented => true;
}
