namespace LongLora.Configs;

/// <summary>
/// How a family's fields for sizes, norms and activation differ from Llama's: other names, and what an absent field means. A size without
/// a default must be in the file.
/// </summary>
internal sealed record ShapeRules
{
    /// <summary>As for <see cref="CommonConfig.Check"/>.</summary>
    public IReadOnlyList<string> OwnCode { get; init; } = [];

    public string ActivationName { get; init; } = "hidden_act";

    /// <summary>The activations that can be computed; the first stands for an absent field.</summary>
    public IReadOnlyList<string> Activations { get; init; } = ["silu"];

    public string EpsilonName { get; init; } = "rms_norm_eps";

    public double Epsilon { get; init; } = 1e-6;

    public bool TiedEmbeddings { get; init; }

    /// <summary>
    /// Whether published files of the family name a dropout: transformers drops in its own training, and nothing here ever does.
    /// </summary>
    public bool NamesDropout { get; init; }

    public int? HiddenSize { get; init; }

    public int? IntermediateSize { get; init; }

    public int? LayerCount { get; init; }

    public int? HeadCount { get; init; }

    public int? KeyValueHeadCount { get; init; }

    public int? HeadSize { get; init; }

    public int? VocabularySize { get; init; }

    /// <summary>0 where the family asks for the field.</summary>
    public int MaxPositions { get; init; }
}
