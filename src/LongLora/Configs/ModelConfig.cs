namespace LongLora.Configs;

/// <summary>
/// What a Hugging Face <c>config.json</c> says about a decoder-only model, with the same names in C# spelling. It is read strictly: an
/// unknown field that could change the numbers is an error and never ignored.
/// </summary>
public sealed record ModelConfig
{
    /// <summary>The family, such as <c>llama</c> (<c>model_type</c>).</summary>
    public required string ModelType { get; init; }

    /// <summary>D, the width of the residual stream (<c>hidden_size</c>).</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width of the MLP (<c>intermediate_size</c>).</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Number of decoder blocks (<c>num_hidden_layers</c>).</summary>
    public required int LayerCount { get; init; }

    /// <summary>H, the number of query heads (<c>num_attention_heads</c>).</summary>
    public required int HeadCount { get; init; }

    /// <summary>Number of key and value heads; a divisor of <see cref="HeadCount"/> (<c>num_key_value_heads</c>, default H).</summary>
    public required int KeyValueHeadCount { get; init; }

    /// <summary>K, the size of one head (<c>head_dim</c>, default D / H).</summary>
    public required int HeadSize { get; init; }

    /// <summary>V, the number of token ids (<c>vocab_size</c>).</summary>
    public required int VocabularySize { get; init; }

    /// <summary>The context in tokens that the model was made for (<c>max_position_embeddings</c>).</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Epsilon of the norms (<c>rms_norm_eps</c>, default 1e-6; <c>layer_norm_eps</c> for LayerNorm families).</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>Base of the rotary frequencies (<c>rope_theta</c>, default 10000).</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>
    /// The scaling of the rotary positions; <see cref="RopeScalingConfig.None"/> when absent (<c>rope_scaling</c> or
    /// <c>rope_parameters</c>).
    /// </summary>
    public RopeScalingConfig RopeScaling { get; init; } = RopeScalingConfig.None;

    /// <summary>Whether the output head is the embedding matrix (<c>tie_word_embeddings</c>, default false for Llama).</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>
    /// Whether q, k, v and o have a bias (<c>attention_bias</c>; default false, true for GPT-NeoX). Qwen2 ignores it: its q, k and v always
    /// have a bias, its o never.
    /// </summary>
    public bool AttentionBias { get; init; }

    /// <summary>
    /// Whether gate, up and down have a bias (<c>mlp_bias</c>, default false). GPT-NeoX ignores it: its MLP always has biases.
    /// </summary>
    public bool MlpBias { get; init; }

    /// <summary>
    /// How many numbers of a head RoPE rotates, counted from the first one; even, at most K (<c>partial_rotary_factor</c> or
    /// <c>rotary_pct</c>, times K; default K).
    /// </summary>
    public int RotarySize
    {
        get => field > 0 ? field : HeadSize;
        init;
    }

    /// <summary>
    /// How many tokens a position looks at, itself included, in layers with a sliding window; null if there is no window
    /// (<c>sliding_window</c>).
    /// </summary>
    public int? SlidingWindow { get; init; }

    /// <summary>The first layer with a sliding window; layers before it look at everything (<c>max_window_layers</c>, default 0).</summary>
    public int FirstWindowedLayer { get; init; }

    /// <summary>Whether the MLP reads the block's input, in parallel to attention (<c>use_parallel_residual</c>; GPT-NeoX).</summary>
    public bool ParallelResidual { get; init; }

    /// <summary>The MLP's activation, such as <c>silu</c> or <c>gelu</c> (<c>hidden_act</c>).</summary>
    public string Activation { get; init; } = "silu";

    /// <summary>Id of the token that begins a text, if any (<c>bos_token_id</c>).</summary>
    public int? BosTokenId { get; init; }

    /// <summary>
    /// Ids of the tokens that end a text (<c>eos_token_id</c>, a number or a list). The first one is written between training documents.
    /// </summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>Standard deviation of a new model's weights (<c>initializer_range</c>, default 0.02).</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>The sliding window of one layer in tokens; null if the layer looks at everything.</summary>
    /// <param name="layer">Index of the layer.</param>
    public int? GetWindow(int layer) => layer >= FirstWindowedLayer ? SlidingWindow : null;
}
