namespace LongLora.Configs;

/// <summary>The gated delta net (arXiv 2412.06464) in layers with a recurrent state.</summary>
internal sealed record LinearAttentionConfig
{
    /// <summary>Number of query and key heads (<c>linear_num_key_heads</c>).</summary>
    public required int KeyHeadCount { get; init; }

    /// <summary>Number of value heads, a multiple of the key heads (<c>linear_num_value_heads</c>).</summary>
    public required int ValueHeadCount { get; init; }

    /// <summary>Size of a query or key head (<c>linear_key_head_dim</c>).</summary>
    public required int KeySize { get; init; }

    /// <summary>Size of a value head (<c>linear_value_head_dim</c>).</summary>
    public required int ValueSize { get; init; }

    /// <summary>Tokens that the short convolution sees, including the current one (<c>linear_conv_kernel_dim</c>).</summary>
    public required int ConvolutionSize { get; init; }
}
