namespace LongLora.Studies;

/// <summary>Options of a reproduction.</summary>
internal sealed record ReproductionOptions
{
    /// <summary>Folder of a small model with its tokenizer.</summary>
    public required string Model { get; init; }

    /// <summary>Folder of all runs and results; existing ones are kept and continued.</summary>
    public required string Output { get; init; }

    /// <summary>The factor by which the context grows: 4, 8, 12, ... Default 4.</summary>
    public int Factor { get; init; } = 4;

    /// <summary>Optimizer steps per run, of two windows of the long context each. Default 100.</summary>
    public int Steps { get; init; } = 100;

    /// <summary>
    /// Peak learning rate; full fine-tuning uses a quarter of it. Default 2e-3, because small models and short runs need more than the
    /// paper's 2e-5.
    /// </summary>
    public double LearningRate { get; init; } = 2e-3;

    /// <summary>Number of pass keys at each length. Default 10.</summary>
    public int Trials { get; init; } = 10;

    /// <summary>Names of the runs to do; empty for all. Default all.</summary>
    public IReadOnlyList<string> Only { get; init; } = [];

    /// <summary>Seed for data and training. Default 1.</summary>
    public int Seed { get; init; } = 1;
}
