using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>The run itself: output directory, seed, checkpoints, and the memory check.</summary>
public sealed record RunOptions
{
    /// <summary>The run directory. Must be new or empty unless <see cref="Resume"/>.</summary>
    public required string Output { get; init; }

    /// <summary>
    /// Continues the run in <see cref="Output"/> from its newest checkpoint; starts from the beginning if there is none. Default false.
    /// </summary>
    public bool Resume { get; init; }

    /// <summary>Seed of the LoRA matrices and of the order of the data. Default 42.</summary>
    public int Seed { get; init; } = 42;

    /// <summary>Steps between two saved checkpoints; 0 to save only at the end or when interrupted. Default 100.</summary>
    public int SaveEvery { get; init; } = 100;

    /// <summary>Number of newest checkpoints to keep. Default 2.</summary>
    public int KeepCheckpoints { get; init; } = 2;

    /// <summary>
    /// Whether to refuse a run that needs more memory than the device has (<c>longlora plan</c> shows both). Default true.
    /// </summary>
    public bool CheckMemory { get; init; } = true;

    /// <summary>
    /// In a job of several ranks: seconds without progress after which a rank is taken for hung and the job is ended; four times the
    /// longest piece of work so far if that is more. Default 8.
    /// </summary>
    public int RankTimeout { get; init; } = 8;

    /// <summary>Adds the problems of these options to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Output.Length > 0, "output is empty; give the run directory");
        problems.Require(SaveEvery >= 0, $"save-every is {SaveEvery}; it must be 0 (only at the end) or more");
        problems.Require(RankTimeout is >= 1 and <= 86_400, $"rank-timeout is {RankTimeout}; it must be 1 to 86400 seconds");
        problems.Require(KeepCheckpoints >= 1, $"keep-checkpoints is {KeepCheckpoints}; it must be at least 1");
    }
}
