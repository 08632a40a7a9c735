using LongLora.Adapters;
using LongLora.Distributed;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>How a model is opened.</summary>
public sealed record LoadOptions
{
    /// <summary>Folder of a PEFT or LongLoRA adapter on the model; null for none. Default null.</summary>
    public string? Adapter { get; init; }

    /// <summary>What the adapter's files do not say; null if they say everything. Default null.</summary>
    public AdapterReading? AdapterReading { get; init; }

    /// <summary>
    /// The context in tokens that positions are rescaled for; null for the context of the model and its adapter. A context that the model
    /// already has changes nothing. Default null.
    /// </summary>
    public int? Context { get; init; }

    /// <summary>
    /// With <see cref="Context"/>: the kind of rescaling, as <see cref="Positions.RopeScaling.Extend"/> takes it. Default <c>auto</c>.
    /// </summary>
    public string RopeScaling { get; init; } = "auto";

    /// <summary>
    /// With <see cref="Context"/>: the factor; null for ceil(context / original context), LongLoRA's rule. Default null.
    /// </summary>
    public double? RopeFactor { get; init; }

    /// <summary>
    /// The chat template: <c>auto</c> for the model's own if it has one, one of <see cref="ChatTemplate.Names"/>, or a file. Null reads
    /// none, so that an unsupported template only prevents conversations. Default null.
    /// </summary>
    public string? Template { get; init; }

    /// <summary>
    /// Form of the matrices in the decoder blocks. Null for what suits a model that only computes: on the CPU a GGUF file's blocks stay,
    /// which take less memory and less time per token; all else is as it is stored. Default none: as they are stored, or expanded.
    /// </summary>
    public QuantizationKind? Quantization { get; init; } = QuantizationKind.None;

    /// <summary><c>auto</c> (CUDA if available), <c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>. Default <c>auto</c>.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// The number format of activations and products. Null for fp32 on the CPU, whatever the processor, and on CUDA bf16 if the device
    /// supports it, or else fp32. Default null.
    /// </summary>
    public ComputePrecision? Compute { get; init; }

    /// <summary>Checks what can be checked without the model.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    internal void Validate() => OptionProblems.ThrowIfAny(Check);

    private void Check(OptionProblems problems)
    {
        problems.Require(Context is null or >= 1, $"context is {Context}; it must be at least 1");
        problems.Require(RopeFactor is null or >= 1, $"rope-factor is {RopeFactor}; it must be at least 1");
        problems.Require(
            RopeFactor is null || RopeScaling != "default",
            "rope-factor has no effect because rope-scaling is default, which leaves the positions as they are"
        );
        problems.Require(
            Adapter is not null || AdapterReading is null || AdapterReading == new AdapterReading(),
            "adapter-context, adapter-scaling, keep-vocabulary and allow-missing have no effect without an adapter; give one, or leave "
                + "them out"
        );
        problems.Require(
            Context is not null || (RopeFactor is null && RopeScaling == "auto"),
            "rope-scaling and rope-factor need a context; give the context that positions are rescaled for"
        );
    }

    /// <summary>Ranks that divide the matrices in the decoder blocks; null to have them whole. Default null.</summary>
    internal ICommunicator? DividedAmong { get; init; }
}
