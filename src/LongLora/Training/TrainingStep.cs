namespace LongLora.Training;

/// <summary>What is known of one optimizer step once it is done; one line of <c>metrics.jsonl</c>.</summary>
public sealed record TrainingStep
{
    /// <summary>Number of this step, from 1.</summary>
    public required int Step { get; init; }

    /// <summary>Steps of the whole run.</summary>
    public required int Steps { get; init; }

    /// <summary>Mean loss in nats a token, before the step.</summary>
    public required double Loss { get; init; }

    /// <summary>Learning rate of the step.</summary>
    public required double LearningRate { get; init; }

    /// <summary>2-norm of all gradients before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>Tokens seen since the beginning of the run.</summary>
    public required long Tokens { get; init; }

    /// <summary>Tokens a second in this step.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Time since the process began to train.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>Resident memory of the process in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Largest resident memory so far in bytes.</summary>
    public required long PeakMemoryBytes { get; init; }
}
