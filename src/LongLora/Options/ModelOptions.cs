using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>
/// The model that a run starts from, its new context, and how positions are rescaled to it. These end up in the config of the result.
/// </summary>
public sealed record ModelOptions
{
    /// <summary>
    /// The model to extend, a folder, a file or a name, as for <see cref="Loading.ModelSource.Open"/>; <c>model</c> in a recipe. Empty with
    /// <see cref="FromScratch"/>. Default empty.
    /// </summary>
    public string Path { get; init; } = "";

    /// <summary>
    /// The <c>config.json</c> of a new model to train from random weights instead of the model in <see cref="Path"/>; its context is
    /// <see cref="Context"/>. The new model is written to <c>initial/</c> in the output. Requires full tuning. Default null.
    /// </summary>
    public string? FromScratch { get; init; }

    /// <summary>Folder of the tokenizer for a new model; null for none, which requires token <c>.bin</c> data. Default null.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>
    /// Tokens in one training sequence, which becomes the model's new context. At least the native context; for sft it may be smaller,
    /// which shortens examples but does not change the model's context.
    /// </summary>
    public required int Context { get; init; }

    /// <summary>
    /// How positions are rescaled: auto, default (left as they are), linear, dynamic, yarn, llama3, longrope, or by-length (YaRN beyond the
    /// original context and nothing within it). Default auto: the model's own kind, or yarn if it has none. The paper's position
    /// interpolation is linear.
    /// </summary>
    public string RopeScaling { get; init; } = "auto";

    /// <summary>Rescaling factor; null for ceil(context / original context).</summary>
    public double? RopeFactor { get; init; }

    /// <summary>Adds the problems of these options to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Path.Length > 0 || FromScratch is not null, "model is empty; give the folder of a Hugging Face model");
        problems.Require(
            Path.Length == 0 || FromScratch is null,
            $"model is '{Path}' and from-scratch is '{FromScratch}'; give only one of them"
        );
        problems.Require(
            FromScratch is not null || Tokenizer is null,
            $"tokenizer is '{Tokenizer}', but it applies only with from-scratch; remove it, because the model has its own"
        );
        problems.Require(Context >= 2, $"context is {Context}; it must be at least 2 tokens");
        problems.Require(RopeFactor is null or >= 1, $"rope-factor is {RopeFactor}; it must be at least 1");
    }
}
