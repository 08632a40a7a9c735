namespace LongLora.Configs;

/// <summary>The properties of one decoder layer, if layers differ.</summary>
internal sealed record LayerPlan
{
    /// <summary>How many tokens a position looks at, itself included; null for all.</summary>
    public int? Window { get; init; }

    /// <summary>Which rotary positions its queries and keys have.</summary>
    public LayerRotation Rotation { get; init; }

    /// <summary>Size of one head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Number of key and value heads.</summary>
    public required int KeyValueHeadCount { get; init; }

    /// <summary>Width of the dense MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Whether the layer has experts (<see cref="ModelConfig.Experts"/>).</summary>
    public bool HasExperts { get; init; }

    /// <summary>
    /// Whether the layer has a recurrent state (<see cref="ModelConfig.LinearAttention"/>) instead of attention over all tokens.
    /// </summary>
    public bool IsLinear { get; init; }

    /// <summary>The layer whose keys and values this layer uses; null for its own.</summary>
    public int? KeysOf { get; init; }
}
