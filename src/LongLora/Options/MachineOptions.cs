using LongLora.Adapters;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Options;

/// <summary>The machine: where it computes, in which types, and how little memory a step must take.</summary>
public sealed record MachineOptions
{
    /// <summary>Where to compute: auto (CUDA where there is one), cpu, cuda, cuda:N. Default auto.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// What CUDA computes in: bf16, fp32 with the mantissas of products cut to 10 bits (tf32, the faster fp32), or fp32. Trained weights,
    /// gradients and optimizer state are fp32 in each. The CPU always computes in fp32. Default bf16. Unverified on a GPU.
    /// </summary>
    public CudaCompute CudaCompute { get; init; } = CudaCompute.Bf16;

    /// <summary>
    /// Form of the frozen matrices: none (as stored; those of a GGUF file are widened), nf4 (QLoRA: 0.516 bytes a weight), int8, keep (the
    /// blocks of a GGUF file, on the CPU). Quantised while loading; not with full tuning. A bitsandbytes model is used as it is. Default
    /// none.
    /// </summary>
    public QuantizationKind Quantization { get; init; } = QuantizationKind.None;

    /// <summary>
    /// Decoder blocks between two kept activations, at least 1. With 1 nothing costly is computed twice; more save memory in deep models
    /// and cost about a third more time. Default 1.
    /// </summary>
    public int BlocksPerSegment { get; init; } = 1;

    /// <summary>
    /// Where activations wait for the backward pass. Default auto: in memory while they take less than half of what is free.
    /// </summary>
    public ActivationOffload ActivationOffload { get; init; } = ActivationOffload.Auto;

    /// <summary>Adds what is wrong with these options to a list.</summary>
    /// <param name="problems">The list.</param>
    /// <param name="method">What is trained.</param>
    internal void Check(OptionProblems problems, MethodOptions method)
    {
        problems.Require(
            Quantization == QuantizationKind.None || method.Tuning != TuningMethod.Full,
            $"quantization is {Quantization.ToString().ToLowerInvariant()}, but tuning is full: quantized matrices cannot be "
                + "trained; set tuning to lora-plus or lora, or quantization to none"
        );
        problems.Require(BlocksPerSegment >= 1, $"blocks-per-segment is {BlocksPerSegment}; it must be at least 1");
    }
}
