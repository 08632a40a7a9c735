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
    /// Whether dimension 2 i is paired with 2 i + 1, not i with i + R / 2 (GLM, Cohere 2, ERNIE 4.5; the family decides).
    /// </summary>
    public bool InterleavedRotation { get; init; }

    /// <summary>
    /// How many tokens a position looks at, itself included, in layers with a sliding window; null if there is no window
    /// (<c>sliding_window</c>).
    /// </summary>
    public int? SlidingWindow { get; init; }

    /// <summary>The first layer with a sliding window; layers before it look at everything (<c>max_window_layers</c>, default 0).</summary>
    public int FirstWindowedLayer { get; init; }

    /// <summary>Whether the MLP reads the block's input, in parallel to attention (<c>use_parallel_residual</c>; GPT-NeoX).</summary>
    public bool ParallelResidual { get; init; }

    /// <summary>
    /// The MLP's activation, such as <c>silu</c> or <c>gelu</c> (<c>hidden_act</c>, <c>hidden_activation</c>).
    /// </summary>
    public string Activation { get; init; } = "silu";

    /// <summary>
    /// What each layer is, one entry per layer, where they differ in more than <see cref="FirstWindowedLayer"/>; empty where they do not
    /// (<c>layer_types</c> and the fields of families that say the same in other ways). Use <see cref="GetLayer"/>.
    /// </summary>
    internal IReadOnlyList<LayerPlan> Layers { get; init; } = [];

    /// <summary>
    /// Rotary positions of the layers with <see cref="LayerRotation.Local"/>; null if no layer has its own
    /// (<c>rope_local_base_freq</c>, <c>rope_parameters.sliding_attention</c>).
    /// </summary>
    internal RopeSettings? LocalRope { get; init; }

    /// <summary>Whether a layer's output projection o has a bias, where it differs from q, k and v (<c>attention_out_bias</c>).</summary>
    public bool? AttentionOutputBias { get; init; }

    /// <summary>Factor on the embeddings of tokens (<c>embedding_multiplier</c>; Gemma's square root of D).</summary>
    public double EmbeddingFactor { get; init; } = 1;

    /// <summary>
    /// Factor on the products of queries and keys (<c>attention_multiplier</c>, <c>query_pre_attn_scalar</c> to the power -1/2); null for
    /// 1 / sqrt(K).
    /// </summary>
    public double? AttentionScale { get; init; }

    /// <summary>Factor on what a branch adds to the residual stream (<c>residual_multiplier</c>).</summary>
    public double ResidualFactor { get; init; } = 1;

    /// <summary>Factor on the logits (<c>logit_scale</c>, 1 / <c>logits_scaling</c>).</summary>
    public double LogitFactor { get; init; } = 1;

    /// <summary>c, where attention scores s become c tanh(s / c); null if they stay (<c>attn_logit_softcapping</c>).</summary>
    public double? ScoreCap { get; init; }

    /// <summary>c, where logits z become c tanh(z / c); null if they stay (<c>final_logit_softcapping</c>).</summary>
    public double? LogitCap { get; init; }

    /// <summary>The experts of layers with <see cref="LayerPlan.HasExperts"/>; null for a dense model.</summary>
    internal ExpertConfig? Experts { get; init; }

    /// <summary>Bound of the values before the product of gate and up; null for none (<c>swiglu_limit</c>; gpt-oss).</summary>
    public double? ActivationLimit { get; init; }

    /// <summary>a in x sigmoid(a x), the activation of gpt-oss (<c>swiglu_alpha</c>, default 1.702).</summary>
    public double ActivationSlope { get; init; } = 1.702;

    /// <summary>The gated delta net of layers with <see cref="LayerPlan.IsLinear"/>; null if there is none.</summary>
    internal LinearAttentionConfig? LinearAttention { get; init; }

    /// <summary>An input of each token for each layer; null if there is none.</summary>
    internal TokenInputConfig? TokenInputs { get; init; }

    /// <summary>Id of the token that begins a text, if any (<c>bos_token_id</c>).</summary>
    public int? BosTokenId { get; init; }

    /// <summary>
    /// Ids of the tokens that end a text (<c>eos_token_id</c>, a number or a list). The first one is written between training documents.
    /// </summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>Standard deviation of a new model's weights (<c>initializer_range</c>, default 0.02).</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>What one layer is.</summary>
    /// <param name="layer">Index of the layer.</param>
    internal LayerPlan GetLayer(int layer) => Layers.Count > 0 ? Layers[layer] : DescribeAlike(layer);

    /// <summary>The sliding window of one layer in tokens; null if the layer looks at everything.</summary>
    /// <param name="layer">Index of the layer.</param>
    public int? GetWindow(int layer) =>
        Layers.Count > 0 ? Layers[layer].Window
        : layer >= FirstWindowedLayer ? SlidingWindow
        : null;

    /// <summary>The same model with a plan for each layer.</summary>
    /// <param name="plan">Gets the index of a layer and what it would be if all were alike.</param>
    internal ModelConfig PlanLayers(Func<int, LayerPlan, LayerPlan> plan) =>
        this with
        {
            Layers = [.. Enumerable.Range(0, LayerCount).Select(i => plan(i, DescribeAlike(i)))],
        };

    private LayerPlan DescribeAlike(int layer) =>
        new()
        {
            Window = layer >= FirstWindowedLayer ? SlidingWindow : null,
            HeadSize = HeadSize,
            KeyValueHeadCount = KeyValueHeadCount,
            IntermediateSize = IntermediateSize,
            HasExperts = Experts is not null,
        };
}
