using LongLora.Adapters;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Options;

/// <summary>The machine: the device, number formats, and ways to save memory.</summary>
public sealed record MachineOptions
{
    /// <summary>Where to compute: auto (CUDA where there is one), cpu, cuda, cuda:N. Default auto.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// The number format of activations and products: bf16, fp32, on CUDA also tf32, or auto, which depends on device, processor and model
    /// (see <see cref="ComputePrecision"/>). Trained weights, gradients, optimizer state, norms, positions and losses are always fp32. A
    /// run writes down what auto meant, and is resumed with that. Default: fp32 on the CPU, auto on CUDA. Not yet tested on a GPU.
    /// </summary>
    public ComputePrecision? Compute
    {
        get;
        init => (field, IsComputeOfCuda) = (value, false);
    }

    // Whether the format is meant for CUDA alone, and the CPU computes in fp32: so it was under its former name, cuda-compute.
    internal bool IsComputeOfCuda { get; init; }

    /// <summary>
    /// How the frozen matrices are stored: none (as in the model; those of a GGUF file are expanded), nf4 (QLoRA: 0.516 bytes per weight),
    /// int8, or keep (the blocks of a GGUF file, on the CPU only). Quantization happens while loading and does not work with full tuning. A
    /// bitsandbytes model is used as it is. Default none.
    /// </summary>
    public QuantizationKind Quantization { get; init; } = QuantizationKind.None;

    /// <summary>
    /// Decoder blocks per activation checkpoint, at least 1. With 1, nothing expensive is computed twice. More blocks save memory in deep
    /// models and cost about a third more time. Default 1.
    /// </summary>
    public int BlocksPerSegment { get; init; } = 1;

    /// <summary>
    /// Where activations are kept for the backward pass. Default auto: in memory if they take less than half of what is free.
    /// </summary>
    public ActivationOffload ActivationOffload { get; init; } = ActivationOffload.Auto;

    /// <summary>
    /// The most bytes, on the device that computes, for results of the forward pass that the backward pass would otherwise compute again:
    /// output projections of attention, queries, keys and values, gate and up. 0 keeps none. Default null, auto: half of the memory that is
    /// free at the start and not needed otherwise, as long as the run stays below 90 % of the device; ranks of one machine share it. The
    /// result has the same bits with any value, so a run may be resumed with another.
    /// </summary>
    public long? ActivationMemory { get; init; }

    /// <summary>
    /// P, the ranks among which each sequence is divided, at least 1; the number of processes is a multiple of it. Each rank has about
    /// context / P tokens, and at least half an attention group: P is at most 2 context / group. Not for full attention and recurrent
    /// layers. Default 1.
    /// </summary>
    public int SequenceParallel { get; init; } = 1;

    /// <summary>
    /// What is divided among the ranks. With exact sums the result has the same bytes, and a run may be resumed with another choice.
    /// Nothing changes on one rank. Default none.
    /// </summary>
    public Sharding Shard { get; init; } = Sharding.None;

    /// <summary>The number format that is used: bf16, tf32 or fp32.</summary>
    /// <param name="device">CPU or CUDA.</param>
    /// <param name="index">Number of the CUDA device.</param>
    /// <param name="stored">The type in which the model's matrices are stored.</param>
    /// <exception cref="ConfigurationException">The device does not have the format.</exception>
    internal ComputePrecision ResolveCompute(DeviceType device, int index, ScalarType stored) =>
        device == DeviceType.CPU && (Compute is null || IsComputeOfCuda)
            ? ComputePrecision.Fp32
            : PrecisionChoice.Resolve(Compute ?? ComputePrecision.Auto, device, index, stored);

    /// <summary>Adds the problems of these options to a list.</summary>
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
        problems.Require(
            Shard != Sharding.Model || method.Tuning != TuningMethod.Full,
            "shard is model, but tuning is full: only frozen matrices can be divided among ranks, and full tuning trains them all; set "
                + "shard to optimizer, or tuning to lora-plus or lora"
        );
        problems.Require(
            Shard != Sharding.Model || Quantization != QuantizationKind.Keep,
            "shard is model, but quantization is keep: the blocks of a GGUF file stay in the mapped file, which the ranks of a machine "
                + "share; set shard to optimizer, or quantization to nf4 or int8"
        );
        problems.Require(
            ActivationMemory is null or >= 0,
            $"activation-memory is {ActivationMemory}; it must be at least 0, or null for auto"
        );
        problems.Require(SequenceParallel >= 1, $"sequence-parallel is {SequenceParallel}; it must be at least 1");
    }

    /// <summary>Adds the problem of a text that cannot be divided among ranks to a list.</summary>
    /// <param name="problems">The list.</param>
    /// <param name="method">Attention in training.</param>
    /// <param name="context">Tokens in a sequence.</param>
    internal void CheckParts(OptionProblems problems, MethodOptions method, int context)
    {
        // Wrong groups and contexts have problems of their own.
        if (SequenceParallel > 1 && context > 0 && method.ResolveGroupSize(context) is var group && group >= 2 && group % 2 == 0)
        {
            var problem = TextRanks.FindProblem(method.MakeAttention(context), context, SequenceParallel);
            problems.Require(problem is null, problem ?? "");
        }
    }
}
