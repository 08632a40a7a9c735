namespace LongLora.Evaluation;

/// <summary>The results of one run of a reproduction.</summary>
internal sealed record ReproductionFile() : EvaluationFile(KindName)
{
    internal const string KindName = "reproduction";

    /// <summary>Name of the run.</summary>
    public required string Name { get; init; }

    /// <summary>Description of everything that the results depend on; a result with another description is not reused.</summary>
    public required string Made { get; init; }

    /// <summary>The measures by length.</summary>
    public required IReadOnlyList<LengthMeasure> Measures { get; init; }

    /// <summary>Perplexity at the longest length with the training's attention; null if that is full.</summary>
    public double? OwnPatternPerplexity { get; init; }

    /// <summary>Weights that were trained.</summary>
    public long TrainedWeights { get; init; }

    /// <summary>Mean loss of the last quarter of the steps, in nats per token; null if nothing was trained.</summary>
    public double? TrainingLoss { get; init; }

    /// <summary>Wall-clock seconds of training.</summary>
    public double TrainingSeconds { get; init; }

    /// <summary>CPU seconds of training.</summary>
    public double ProcessorSeconds { get; init; }

    /// <summary>FLOPs of attention's scores and sums per step.</summary>
    public double AttentionFlops { get; init; }

    /// <summary>Total FLOPs per step (<see cref="Training.StepFlops.Needed"/>).</summary>
    public double StepFlops { get; init; }

    private protected override bool IsIndented => true;
}
