namespace LongLora.Adapters;

/// <summary>How to take what the files of an adapter leave open.</summary>
public sealed record AdapterReading
{
    /// <summary>
    /// The context in tokens that the adapter was trained for, where its files do not say (LongLoRA's own); null where they do, or for
    /// the base's.
    /// </summary>
    public int? Context { get; init; }

    /// <summary>How positions were rescaled to <see cref="Context"/>. Default linear, as LongLoRA does.</summary>
    public string Scaling { get; init; } = "linear";

    /// <summary>
    /// Leaves rows of the embeddings that the base model does not have, such as that of <c>[PAD]</c>, aside. Default false.
    /// </summary>
    public bool KeepVocabulary { get; init; }

    /// <summary>
    /// Loads an adapter whose files lack parts that its config names, without these parts: the base's stay as they are. Default false: such
    /// an adapter is refused.
    /// </summary>
    public bool AllowMissing { get; init; }
}
