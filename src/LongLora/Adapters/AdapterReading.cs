namespace LongLora.Adapters;

/// <summary>Options for what an adapter's files do not specify.</summary>
public sealed record AdapterReading
{
    /// <summary>
    /// The context in tokens that the adapter was trained for, needed if its files do not store it (LongLoRA's own layout). Null for the
    /// context in the files, or the base's.
    /// </summary>
    public int? Context { get; init; }

    /// <summary>
    /// How positions were rescaled to <see cref="Context"/>: one of <see cref="Positions.RopeScaling.Kinds"/> or
    /// <see cref="Positions.RopeScaling.ByLength"/>. Null for linear, as LongLoRA does.
    /// </summary>
    public string? Scaling { get; init; }

    /// <summary>
    /// Whether to ignore embedding rows that the base model does not have, such as the one for <c>[PAD]</c>. Default false.
    /// </summary>
    public bool KeepVocabulary { get; init; }

    /// <summary>
    /// Whether to load an adapter even if its files lack parts that its config names; the base's weights are used for them. Default false.
    /// </summary>
    public bool AllowMissing { get; init; }
}
