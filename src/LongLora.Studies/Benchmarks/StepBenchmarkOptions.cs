using LongLora.Adapters;
using LongLora.Training;

namespace LongLora.Studies;

/// <summary>What is measured.</summary>
internal sealed record StepBenchmarkOptions
{
    /// <summary>G, tokens in an attention group; 0 for a quarter of the context. Default 0.</summary>
    public int GroupSize { get; init; }

    /// <summary>
    /// Timed steps of each variant after a warm-up step; 0 to time only the warm-up step, for contexts so long that one step must be
    /// enough. Default 3.
    /// </summary>
    public int Steps { get; init; } = 3;

    /// <summary>Whether full attention is also measured. Default true.</summary>
    public bool Full { get; init; } = true;

    /// <summary>What is trained. Default LoRA+ (rank 8 on q, k, v, o, with embeddings and norms).</summary>
    public AdapterOptions Tuning { get; init; } = new();

    /// <summary>Blocks per activation checkpoint. Default 1.</summary>
    public int BlocksPerSegment { get; init; } = 1;

    /// <summary>Where activations are kept. Default in memory.</summary>
    public ActivationOffload Offload { get; init; } = ActivationOffload.None;

    /// <summary>The most bytes for activations that would otherwise be recomputed; null for auto. Default 0: none.</summary>
    public long? ActivationMemory { get; init; } = 0;

    /// <summary>Learning rate of the steps; only losses depend on it. Default 1e-3.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Seed of the LoRA matrices and the token ids. Default 0.</summary>
    public long Seed { get; init; }

    /// <summary>G at a context.</summary>
    public int ResolveGroupSize(int context) => GroupSize > 0 ? GroupSize : context / 4;
}
