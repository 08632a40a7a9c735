namespace LongLora.Configs;

/// <summary>A mixture of experts instead of an MLP, or in addition to it.</summary>
internal sealed record ExpertConfig
{
    /// <summary>E, the number of experts (<c>num_experts</c>, <c>num_local_experts</c>).</summary>
    public required int Count { get; init; }

    /// <summary>Number of experts per token (<c>num_experts_per_tok</c>, <c>top_k_experts</c>).</summary>
    public required int PerToken { get; init; }

    /// <summary>Width of one expert (<c>moe_intermediate_size</c>, or <c>intermediate_size</c>).</summary>
    public required int Size { get; init; }

    /// <summary>
    /// Whether the weights of the chosen experts are divided by their sum (<c>norm_topk_prob</c>); families without the field always do.
    /// </summary>
    public bool NormalizeWeights { get; init; } = true;
}
