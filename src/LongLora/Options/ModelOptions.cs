namespace LongLora.Options;

/// <summary>
/// The model that a run begins with and the context that it gets: what ends in the config of the result. The rescaling of positions is
/// part of it, since a context is nothing without its positions.
/// </summary>
public sealed record ModelOptions
{
    /// <summary>
    /// The model to extend, a folder, a file or a name, as for <see cref="Loading.ModelSource.Open"/>; <c>model</c> in a recipe. Empty with
    /// <see cref="FromScratch"/>. Default empty.
    /// </summary>
    public string Path { get; init; } = "";

    /// <summary>
    /// A <c>config.json</c> of a new model that is trained from random weights instead of that in <see cref="Path"/>; its context is
    /// <see cref="Context"/>. The new model is left in <c>initial/</c> of the output. Needs full tuning. Default null.
    /// </summary>
    public string? FromScratch { get; init; }

    /// <summary>Folder of the tokenizer that a new model gets; null for none, with token <c>.bin</c> as data. Default null.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>
    /// Tokens in one training sequence, which becomes the model's new context. At least the native context; for sft less is allowed, and
    /// then shortens examples but leaves the model's context alone.
    /// </summary>
    public required int Context { get; init; }

    /// <summary>
    /// How positions are rescaled: auto, default (not at all), linear, dynamic, yarn, llama3, or by-length (YaRN beyond the original
    /// context and nothing within it). Default auto: the kind that the model has, and linear, the paper's position interpolation, where
    /// it has none.
    /// </summary>
    public string RopeScaling { get; init; } = "auto";

    /// <summary>Rescaling factor; null for ceil(context / original context).</summary>
    public double? RopeFactor { get; init; }

    /// <summary>Adds what is wrong with these options to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Path.Length > 0 || FromScratch is not null, "model is empty; give the folder of a Hugging Face model");
        problems.Require(
            Path.Length == 0 || FromScratch is null,
            $"both model, '{Path}', and from-scratch, '{FromScratch}', are given; give one of them"
        );
        problems.Require(
            FromScratch is not null || Tokenizer is null,
            "tokenizer is given, but a model that exists brings its own; leave it out"
        );
        problems.Require(Context >= 2, $"context is {Context}; it must be at least 2 tokens");
        problems.Require(RopeFactor is null or >= 1, $"rope-factor is {RopeFactor}; it must be at least 1");
    }
}
