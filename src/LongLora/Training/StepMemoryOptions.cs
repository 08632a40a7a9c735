using LongLora.Adapters;
using LongLora.Quantization;
using static TorchSharp.torch;

namespace LongLora.Training;

// N tokens in a forward pass (B L), D model size, F MLP size, H heads, J key-value heads, K head size, V vocabulary

/// <summary>What the memory of a training run depends on, besides the model.</summary>
internal sealed record StepMemoryOptions
{
    /// <summary>What is trained.</summary>
    public AdapterOptions Tuning { get; init; } = new();

    /// <summary>B, sequences in a forward pass. Default 1.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>P, ranks among which the sequences are divided; what is counted is the rank with the most tokens. Default 1.</summary>
    public int SequenceParallel { get; init; } = 1;

    /// <summary>Ranks among which the optimizer's state is divided; what is counted is the largest part. Default 1.</summary>
    public int OptimizerRanks { get; init; } = 1;

    /// <summary>Ranks among which the blocks' frozen matrices are divided; what is counted is the largest part. Default 1.</summary>
    public int ModelRanks { get; init; } = 1;

    /// <summary>As given to <see cref="CheckpointedPass"/>. Default 1.</summary>
    public int BlocksPerSegment { get; init; } = 1;

    /// <summary>Where activations are kept; <see cref="ActivationOffload.Auto"/> counts as in memory. Default none.</summary>
    public ActivationOffload Offload { get; init; } = ActivationOffload.None;

    /// <summary>The most bytes for what would otherwise be recomputed, as given to <see cref="CheckpointedPass"/>. Default 0.</summary>
    public long ActivationMemory { get; init; }

    /// <summary>Form of the blocks' matrices. Default as stored.</summary>
    public QuantizationKind Quantization { get; init; } = QuantizationKind.None;

    /// <summary>The type in which the weights are stored. Default bf16, that of published models.</summary>
    public ScalarType StoredType { get; init; } = ScalarType.BFloat16;

    /// <summary>
    /// For a model in GGUF blocks: bytes of the decoder's matrices as stored, and bytes of all other weights.
    /// </summary>
    public (long Matrices, long Others)? KeptBytes { get; init; }

    /// <summary>Whether weights are expanded when the model is opened, so they are not pages of a file. Default false.</summary>
    public bool IsWidened { get; init; }

    /// <summary>Whether gradients are added as whole numbers of 8 bytes. Default false.</summary>
    public bool AddsExactly { get; init; }

    /// <summary>Whether the model computes on CUDA. Default false: on the CPU.</summary>
    public bool Cuda { get; init; }

    /// <summary>The type of activations and of the operands of products. Default fp32.</summary>
    public ScalarType ComputeType { get; init; } = ScalarType.Float32;
}
