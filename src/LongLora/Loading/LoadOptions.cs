using LongLora.Adapters;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>How a model is opened.</summary>
public sealed record LoadOptions
{
    /// <summary>Folder of a PEFT or LongLoRA adapter on the model; null for none. Default null.</summary>
    public string? Adapter { get; init; }

    /// <summary>What the files of the adapter leave open; null for nothing. Default null.</summary>
    public AdapterReading? AdapterReading { get; init; }

    /// <summary>
    /// The context in tokens that positions are rescaled for; null for the context that model and adapter have. Default null. A context
    /// that the model already has changes nothing.
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
    /// The chat template: <c>auto</c> for the model's own if it has one, one of <see cref="ChatTemplate.Names"/>, or a file. Null, the
    /// default, reads none, so that a template that cannot be used stands in the way of conversations alone.
    /// </summary>
    public string? Template { get; init; }

    /// <summary>Form of the decoder blocks' matrices. Default none, as the files have them.</summary>
    public QuantizationKind Quantization { get; init; } = QuantizationKind.None;

    /// <summary><c>auto</c> (CUDA where there is one), <c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>. Default <c>auto</c>.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>What is computed in on CUDA; null for bf16 where the device has it, else fp32. Default null.</summary>
    public CudaCompute? CudaCompute { get; init; }
}
