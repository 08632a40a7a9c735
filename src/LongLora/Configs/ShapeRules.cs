namespace LongLora.Configs;

/// <summary>
/// How a family's fields for sizes, norms and activation differ from Llama's: other names, and the meaning of an absent field. A size
/// without a default must be in the file.
/// </summary>
internal sealed record ShapeRules
{
    /// <summary>See <see cref="CommonConfig.Check"/>.</summary>
    public IReadOnlyList<string> OwnCode { get; init; } = [];

    public string ActivationName { get; init; } = "hidden_act";

    /// <summary>The supported activations. The first one is the default.</summary>
    public IReadOnlyList<string> Activations { get; init; } = ["silu"];

    public string EpsilonName { get; init; } = "rms_norm_eps";

    public double Epsilon { get; init; } = 1e-6;

    public bool TiedEmbeddings { get; init; }

    /// <summary>
    /// Whether published files of the family have a dropout. transformers applies it in its own training; it is never applied here.
    /// </summary>
    public bool NamesDropout { get; init; }

    public int? HiddenSize { get; init; }

    public int? IntermediateSize { get; init; }

    public int? LayerCount { get; init; }

    public int? HeadCount { get; init; }

    public int? KeyValueHeadCount { get; init; }

    public int? HeadSize { get; init; }

    public int? VocabularySize { get; init; }

    /// <summary>0 if the file must give the field.</summary>
    public int MaxPositions { get; init; }
}
