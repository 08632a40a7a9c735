using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

// E experts, H heads, K head size

/// <summary>
/// The families that GGUF has, as llama.cpp lays them out: names as gguf-py's constants list them, keys and orders as its converters write
/// them. A family is one entry.
/// </summary>
/// <remarks>
/// llama.cpp rotates neighboring numbers of a head in some architectures, where Hugging Face rotates the first half with the second: there
/// rows of q and k change places.
/// </remarks>
internal static class GgufLayouts
{
    private static readonly GgufPart[] s_norms = [.. Both("input_layernorm", "attn_norm"), .. Both("post_attention_layernorm", "ffn_norm")];

    private static readonly GgufPart[] s_values = [.. Both("self_attn.v_proj", "attn_v"), .. Both("self_attn.o_proj", "attn_output")];

    private static readonly GgufPart[] s_attention =
    [
        .. Both("self_attn.q_proj", "attn_q"),
        .. Both("self_attn.k_proj", "attn_k"),
        .. s_values,
    ];

    private static readonly GgufPart[] s_neighbors =
    [
        .. Both("self_attn.q_proj", "attn_q", config => Neighbors(config.HeadCount, config.HeadSize)),
        .. Both("self_attn.k_proj", "attn_k", config => Neighbors(config.KeyValueHeadCount, config.HeadSize)),
        .. s_values,
    ];

    private static readonly GgufPart[] s_headNorms =
    [
        new("self_attn.q_norm.weight", "attn_q_norm.weight"),
        new("self_attn.k_norm.weight", "attn_k_norm.weight"),
    ];

    private static readonly GgufPart[] s_plain = [.. Both("mlp.up_proj", "ffn_up"), .. Both("mlp.down_proj", "ffn_down")];

    private static readonly GgufPart[] s_gated = [.. Both("mlp.gate_proj", "ffn_gate"), .. s_plain];

    private static readonly GgufPart[] s_fused = [.. Both("mlp.gate_up_proj", "ffn_up"), .. Both("mlp.down_proj", "ffn_down")];

    // Norms after the branches and none before them.
    private static readonly GgufPart[] s_endNorms =
    [
        new("post_attention_layernorm.weight", "post_attention_norm.weight"),
        new("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
    ];

    private static readonly GgufPart[] s_outer =
    [
        new("model.embed_tokens.weight", "token_embd.weight"),
        .. Both("model.norm", "output_norm"),
        .. Both("lm_head", "output"),
    ];

    private static readonly GgufPart[] s_gemmaNorms =
    [
        new("input_layernorm.weight", "attn_norm.weight"),
        .. s_endNorms,
        new("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
    ];

    private static readonly GgufTrait s_interleaved = GgufTrait.Fact(config => config with { InterleavedRotation = true });

    private static readonly GgufTrait s_inputBias = GgufTrait.Fact(config => config with { AttentionOutputBias = false });

    private static readonly GgufTrait s_wholeWidth = new(
        _ => [],
        (keys, config) =>
            config.HeadCount * config.HeadSize == config.HiddenSize
                ? config
                : throw keys.Bad(
                    keys.Prefix + "attention.key_length",
                    config.HeadSize,
                    $"engines want the {config.HeadCount} heads to be as wide as the model, {config.HiddenSize}"
                )
    );

    // Engines compute full attention in the llama architecture; its files say the window all the same.
    private static readonly GgufTrait s_unreadWindow = new(
        _ => [],
        (keys, config) =>
            config with
            {
                SlidingWindow = keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) is > 0 and var w ? w : null,
            }
    );

    private static readonly GgufTrait s_gelu = GgufTrait.Fact(config =>
        config with
        {
            Activation = "gelu_pytorch_tanh",
            EmbeddingFactor = Math.Sqrt(config.HiddenSize),
        }
    );

    private static readonly GgufTrait s_logitCap = GgufTrait.Number(
        "final_logit_softcapping",
        config => config.LogitCap,
        (config, cap) => config with { LogitCap = cap > 0 ? cap : null }
    );

    /// <summary>Every family. Of several with one architecture, a file is read as the first that its keys ask for.</summary>
    public static GgufLayout[] All { get; } =
    [
        Llama("llama", LlamaConfig.ModelType) with
        {
            HasLongRope = true,
        },
        Llama("llama", MistralConfig.ModelType) with
        {
            HasLongRope = true,
            IsChosen = keys => HasWindow(keys) && !HasExperts(keys),
            Traits = [s_unreadWindow],
        },
        Llama("llama", MixtralConfig.ModelType) with
        {
            IsChosen = HasExperts,
            HasExperts = true,
            Parts = [.. s_norms, .. s_neighbors, .. Experts("block_sparse_moe", "w1", "w3", "w2")],
            Traits = [Mixture(hasSize: false), s_unreadWindow],
        },
        new("qwen2", QwenConfig.Qwen2) { Parts = [.. s_norms, .. s_attention, .. s_gated], Outer = s_outer },
        new("qwen3", QwenConfig.Qwen3) { Parts = [.. s_norms, .. s_attention, .. s_headNorms, .. s_gated], Outer = s_outer },
        new("qwen3moe", Qwen3MoeConfig.ModelType)
        {
            Parts = [.. s_norms, .. s_attention, .. s_headNorms, .. Experts("mlp", "gate_proj", "up_proj", "down_proj")],
            Outer = s_outer,
            HasExperts = true,
            Traits = [Mixture(hasSize: true)],
        },
        new("phi3", Phi3Config.ModelType)
        {
            Parts = [.. s_norms, .. Both("self_attn.qkv_proj", "attn_qkv"), .. Both("self_attn.o_proj", "attn_output"), .. s_fused],
            Outer = s_outer,
            IsPartial = true,
            HasLongRope = true,
            Traits = [new(config => [("attention.sliding_window", (uint)(config.SlidingWindow ?? 0))], s_unreadWindow.Read)],
        },
        new("gptneox", GptNeoXConfig.ModelType)
        {
            LayerPrefix = "gpt_neox.layers.",
            HasLayerNorm = true,
            IsPartial = true,
            Parts =
            [
                .. s_norms,
                .. Both("attention.query_key_value", "attn_qkv", config => PartByPart(config.HeadCount, config.HeadSize)),
                .. Both("attention.dense", "attn_output"),
                .. Both("mlp.dense_h_to_4h", "ffn_up"),
                .. Both("mlp.dense_4h_to_h", "ffn_down"),
            ],
            Outer =
            [
                new("gpt_neox.embed_in.weight", "token_embd.weight"),
                .. Both("gpt_neox.final_layer_norm", "output_norm"),
                .. Both("embed_out", "output"),
            ],
            Traits =
            [
                new(
                    config => [("use_parallel_residual", config.ParallelResidual)],
                    (keys, config) =>
                        config with
                        {
                            AttentionBias = true,
                            MlpBias = true,
                            Activation = "gelu",
                            ParallelResidual = keys.FlagOrNull(keys.Prefix + "use_parallel_residual") ?? true,
                        }
                ),
            ],
        },
        new("gemma3", Gemma3Config.ModelType)
        {
            Parts = [.. Offset(s_gemmaNorms), .. s_attention, .. Offset(s_headNorms), .. s_gated],
            Outer = [s_outer[0], .. Offset(s_outer[1..])],
            HasWindows = true,
            Traits =
            [
                s_gelu,
                GgufTrait.Fact(config => config with { AttentionScale = GemmaScale(config, wide: 62) }),
                s_logitCap,
                Windows(6, windowed: LayerRotation.Local),
                Local(absent: _ => 10000),
                // The context in these files is the one after linear scaling.
                GgufTrait.Fact(config =>
                    config.RopeScaling is { Kind: "linear", OriginalMaxPositions: null } linear
                        ? config with
                        {
                            RopeScaling = linear with { OriginalMaxPositions = (int)(config.MaxPositions / linear.Factor) },
                        }
                        : config
                ),
            ],
        },
        new("gemma2", Gemma2Config.ModelType)
        {
            Parts = [.. Offset(s_gemmaNorms), .. s_attention, .. s_gated],
            Outer = [s_outer[0], .. Offset(s_outer[1..])],
            HasWindows = true,
            Traits =
            [
                s_gelu,
                GgufTrait.Fact(config => config with { AttentionScale = GemmaScale(config, wide: 46) }),
                GgufTrait.Number(
                    "attn_logit_softcapping",
                    config => config.ScoreCap ?? 0,
                    (config, cap) => config with { ScoreCap = (cap ?? 50) is > 0 and var c ? c : null }
                ),
                GgufTrait.Number(
                    "final_logit_softcapping",
                    config => config.LogitCap ?? 0,
                    (config, cap) => config with { LogitCap = (cap ?? 30) is > 0 and var c ? c : null }
                ),
                Windows(2, absent: 4096),
            ],
        },
        Llama("smollm3", SmolLm3Config.ModelType) with
        {
            HasDivisors = false,
            Traits =
            [
                GgufTrait.Fact(config =>
                    config.PlanLayers(
                        (layer, plan) => plan with { Rotation = (layer + 1) % 4 == 0 ? LayerRotation.None : LayerRotation.Main }
                    )
                ),
            ],
        },
        Llama("granite", GraniteConfig.ModelType) with
        {
            Traits =
            [
                GgufTrait.Number(
                    "attention.scale",
                    c => c.AttentionScale ?? 1,
                    (c, v) => c with { AttentionScale = v ?? 1 / Math.Sqrt(c.HeadSize) }
                ),
                GgufTrait.Number("embedding_scale", c => c.EmbeddingFactor, (c, v) => c with { EmbeddingFactor = v is > 0 ? v.Value : 1 }),
                GgufTrait.Number("residual_scale", c => c.ResidualFactor, (c, v) => c with { ResidualFactor = v is > 0 ? v.Value : 1 }),
                GgufTrait.Number("logit_scale", c => 1 / c.LogitFactor, (c, v) => c with { LogitFactor = v is > 0 ? 1 / v.Value : 1 }),
            ],
        },
        new("olmo2", Olmo2Config.ModelType) { Parts = [.. s_endNorms, .. s_attention, .. s_headNorms, .. s_gated], Outer = s_outer },
        new("olmo2", Olmo3Config.ModelType)
        {
            Parts = [.. s_endNorms, .. s_attention, .. s_headNorms, .. s_gated],
            Outer = s_outer,
            HasWindows = true,
            IsChosen = HasWindow,
            Traits = [Windows(4, windowed: LayerRotation.Local), Local(absent: config => config.RopeTheta)],
        },
        new("glm4", GlmConfig.Glm4)
        {
            Parts =
            [
                .. s_norms,
                new("post_self_attn_layernorm.weight", "post_attention_norm.weight"),
                new("post_mlp_layernorm.weight", "post_ffw_norm.weight"),
                .. s_attention,
                .. s_fused,
            ],
            Outer = s_outer,
            IsPartial = true,
            Traits = [s_interleaved, s_inputBias],
        },
        new("chatglm", GlmConfig.Glm)
        {
            Parts = [.. s_norms, .. s_attention, .. s_fused],
            Outer = s_outer,
            IsPartial = true,
            Traits = [s_interleaved, s_inputBias, s_wholeWidth],
        },
        new("gpt-oss", GptOssConfig.ModelType)
        {
            Parts =
            [
                new("input_layernorm.weight", "attn_norm.weight"),
                new("post_attention_layernorm.weight", "post_attention_norm.weight"),
                .. s_attention,
                new("self_attn.sinks", "attn_sinks.weight"),
                .. Both("mlp.router", "ffn_gate_inp"),
                .. Alternating("mlp.experts.gate_up_proj", "ffn_gate_exps", 0),
                .. Alternating("mlp.experts.gate_up_proj", "ffn_up_exps", 1),
                new("mlp.experts.down_proj", "ffn_down_exps.weight") { View = all => all.transpose(1, 2), Shape = s => [s[0], s[2], s[1]] },
                new("mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
            ],
            Outer = s_outer,
            HasWindows = true,
            HasExperts = true,
            Traits =
            [
                Mixture(hasSize: true),
                GgufTrait.Fact(config =>
                    config with
                    {
                        AttentionBias = true,
                        MlpBias = true,
                        ActivationLimit = 7,
                        RopeScaling = config.RopeScaling.Kind == "yarn" ? config.RopeScaling with { Truncate = false } : config.RopeScaling,
                    }
                ),
                Windows(2),
            ],
        },
        new("seed_oss", SeedOssConfig.ModelType)
        {
            Parts =
            [
                new("input_layernorm.weight", "attn_norm.weight"),
                new("post_attention_layernorm.weight", "post_attention_norm.weight"),
                .. s_attention,
                .. s_gated,
            ],
            Outer = s_outer,
            Traits = [new(_ => [], (keys, config) => config with { AttentionOutputBias = keys.HasTensor("blk.0.attn_output.bias") })],
        },
        new("exaone4", Exaone4Config.ModelType)
        {
            Parts = [.. s_endNorms, .. s_attention, .. s_headNorms, .. s_gated],
            Outer = s_outer,
            HasWindows = true,
            HasDivisors = true,
            Traits = [ExaoneWindows()],
        },
        Llama("mistral3", Ministral3Config.ModelType) with
        {
            HasLogMultiplier = true,
            HasYarnRange = true,
            Traits = [GrowingQueries()],
        },
        new("cohere2", Cohere2Config.ModelType)
        {
            Parts = [.. Both("input_layernorm", "attn_norm"), .. s_attention, .. s_gated],
            Outer = s_outer,
            HasLayerNorm = true,
            HasWindows = true,
            Traits =
            [
                s_interleaved,
                GgufTrait.Fact(config => config with { ParallelResidual = true }),
                GgufTrait.Number("logit_scale", c => c.LogitFactor, (c, v) => c with { LogitFactor = v is > 0 ? v.Value : 1 }),
                Windows(4, full: LayerRotation.None),
            ],
        },
        new("ernie4_5", Ernie45Config.ModelType)
        {
            Parts = [.. s_norms, .. s_attention, .. s_gated],
            Outer = s_outer,
            Traits = [s_interleaved],
        },
        new("hunyuan-dense", HunyuanConfig.ModelType)
        {
            Parts =
            [
                .. s_norms,
                .. s_attention,
                new("self_attn.query_layernorm.weight", "attn_q_norm.weight"),
                new("self_attn.key_layernorm.weight", "attn_k_norm.weight"),
                .. s_gated,
            ],
            Outer = s_outer,
        },
        Llama("arcee", ArceeConfig.ModelType) with
        {
            Parts = [.. s_norms, .. s_neighbors, .. s_plain],
            Traits = [GgufTrait.Fact(config => config with { Activation = "relu2" })],
        },
        new("apertus", ApertusConfig.ModelType)
        {
            Parts =
            [
                new("attention_layernorm.weight", "attn_norm.weight"),
                new("feedforward_layernorm.weight", "ffn_norm.weight"),
                .. s_attention,
                .. s_headNorms,
                .. s_plain,
            ],
            Outer = s_outer,
            HasDivisors = true,
            Numbers =
            [
                ("mlp.act_fn.alpha_p", "xielu.alpha_p", [1]),
                ("mlp.act_fn.alpha_n", "xielu.alpha_n", [1]),
                ("mlp.act_fn.beta", "xielu.beta", []),
                ("mlp.act_fn.eps", "xielu.eps", []),
            ],
            Traits = [GgufTrait.Fact(config => config with { Activation = "xielu" })],
        },
        new("qwen35", Qwen35Config.ModelType)
        {
            Parts =
            [
                .. Offset([
                    new("input_layernorm.weight", "attn_norm.weight"),
                    new("post_attention_layernorm.weight", "post_attention_norm.weight"),
                    .. s_headNorms,
                ]),
                .. s_attention,
                .. s_gated,
                new("linear_attn.in_proj_qkv.weight", "attn_qkv.weight") { Rows = TiledChannels },
                new("linear_attn.in_proj_z.weight", "attn_gate.weight")
                {
                    Rows = config => Tiled(config, config.LinearAttention!.ValueSize),
                },
                new("linear_attn.in_proj_b.weight", "ssm_beta.weight") { Rows = config => Tiled(config, 1) },
                new("linear_attn.in_proj_a.weight", "ssm_alpha.weight") { Rows = config => Tiled(config, 1) },
                new("linear_attn.conv1d.weight", "ssm_conv1d.weight")
                {
                    Rows = TiledChannels,
                    View = all => all.squeeze(1),
                    Shape = s => [s[0], 1, s[1]],
                },
                new("linear_attn.A_log", "ssm_a") { Rows = config => Tiled(config, 1), Values = (a => a.exp().neg(), a => a.neg().log()) },
                new("linear_attn.dt_bias", "ssm_dt.bias") { Rows = config => Tiled(config, 1) },
                new("linear_attn.norm.weight", "ssm_norm.weight"),
                new("linear_attn.out_proj.weight", "ssm_out.weight")
                {
                    Columns = config => Tiled(config, config.LinearAttention!.ValueSize),
                },
            ],
            Outer = [s_outer[0], .. Offset(s_outer[1..])],
            IsPartial = true,
            HasFurtherBlocks = true,
            Traits = [DeltaNet(), Sections()],
        },
        new("gemma4", Gemma4Config.ModelType)
        {
            Parts =
            [
                .. s_gemmaNorms,
                .. s_attention,
                .. s_headNorms,
                .. s_gated,
                new("layer_scalar", "layer_output_scale.weight"),
                new("per_layer_input_gate.weight", "inp_gate.weight"),
                new("per_layer_projection.weight", "proj.weight"),
                new("post_per_layer_input_norm.weight", "post_norm.weight"),
                new("router.proj.weight", "ffn_gate_inp.weight"),
                new("router.scale", "ffn_gate_inp.scale"),
                new("router.per_expert_scale", "ffn_down_exps.scale"),
                new("experts.gate_up_proj", "ffn_gate_up_exps.weight"),
                new("experts.down_proj", "ffn_down_exps.weight"),
                new("pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"),
                new("post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"),
                new("post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"),
            ],
            Outer =
            [
                .. s_outer,
                new("model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight"),
                new("model.per_layer_model_projection.weight", "per_layer_model_proj.weight"),
                new("model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight"),
            ],
            HasWindows = true,
            HasDivisors = true,
            HasUnlikeLayers = true,
            HasExperts = true,
            Traits = [s_gelu, GgufTrait.Fact(config => config with { AttentionScale = 1 }), s_logitCap, Gemma4Layers()],
        },
    ];

    private static GgufLayout Llama(string architecture, string modelType) =>
        new(architecture, modelType)
        {
            Parts = [.. s_norms, .. s_neighbors, .. s_gated],
            Outer = s_outer,
            HasDivisors = true,
        };

    // A module's weight and bias.
    private static GgufPart[] Both(string name, string stored, Func<ModelConfig, int[]>? rows = null) =>
        [new(name + ".weight", stored + ".weight") { Rows = rows }, new(name + ".bias", stored + ".bias") { Rows = rows }];

    private static GgufPart[] Experts(string name, string gate, string up, string down) =>
        [
            new(name + ".gate.weight", "ffn_gate_inp.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{gate}.weight", "ffn_gate_exps.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{up}.weight", "ffn_up_exps.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{down}.weight", "ffn_down_exps.weight"),
        ];

    // Every second output of a stack [E, inputs, outputs], and of its biases [E, outputs].
    private static GgufPart[] Alternating(string name, string stored, int first) =>
        [
            new(name, stored + ".weight")
            {
                View = all => all.slice(2, first, all.size(2), 2).transpose(1, 2),
                Shape = s => [s[0], s[2], 2 * s[1]],
            },
            new(name + "_bias", stored + ".bias") { View = all => all.slice(1, first, all.size(1), 2), Shape = s => [s[0], 2 * s[1]] },
        ];

    // Norms that multiply by 1 + w here and by what is stored in engines.
    private static IEnumerable<GgufPart> Offset(IEnumerable<GgufPart> parts) =>
        parts.Select(part =>
            part.Name.Contains("norm", StringComparison.Ordinal) ? part with { Values = (w => AddOnes(w, 1), w => AddOnes(w, -1)) } : part
        );

    private static Tensor AddOnes(Tensor weight, long times)
    {
        using var ones = empty_like(weight).fill_(Scalars.One);
        return weight.add(ones, Scalars.Of(times));
    }

    private static bool HasWindow(GgufMetadata keys) => keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) > 0;

    private static bool HasExperts(GgufMetadata keys) => keys.IntegerOrNull(keys.Prefix + "expert_count") > 0;

    private static GgufTrait Mixture(bool hasSize) =>
        new(
            config =>
            {
                var experts = config.Experts!;
                List<(string, object)> keys = [("expert_count", (uint)experts.Count), ("expert_used_count", (uint)experts.PerToken)];
                if (hasSize)
                    keys.Add(("expert_feed_forward_length", (uint)experts.Size));
                return keys;
            },
            (keys, config) =>
            {
                var (count, used) = (keys.Integer(keys.Prefix + "expert_count"), keys.Integer(keys.Prefix + "expert_used_count"));
                if (used > count)
                    throw keys.Bad(keys.Prefix + "expert_used_count", used, $"there are {count} experts");
                keys.Fixed(keys.Prefix + "expert_shared_count", 0, "experts that see every token are not supported");
                keys.Fixed(keys.Prefix + "leading_dense_block_count", 0, "every layer has experts");
                keys.Fixed(keys.Prefix + "expert_gating_func", 1, "weights of experts are a softmax");
                keys.Fixed(keys.Prefix + "expert_weights_scale", 1, "weights of experts have no factor");
                if (keys.FlagOrNull(keys.Prefix + "expert_weights_norm") == false)
                    throw keys.Bad(keys.Prefix + "expert_weights_norm", false, "the weights of the chosen experts add up to 1");
                return config with
                {
                    Experts = new()
                    {
                        Count = count,
                        PerToken = used,
                        Size = keys.UniformOrNull(keys.Prefix + "expert_feed_forward_length") ?? config.IntermediateSize,
                    },
                };
            }
        );

    /// <summary>Layers with a window, all but every layer of a period.</summary>
    private static GgufTrait Windows(
        int period,
        LayerRotation windowed = LayerRotation.Main,
        LayerRotation full = LayerRotation.Main,
        int? absent = null
    ) =>
        new(
            config => [("attention.sliding_window", (uint)(config.SlidingWindow ?? 0))],
            (keys, config) =>
            {
                var window = keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) ?? absent ?? 0;
                var pattern = keys.Prefix + "attention.sliding_window_pattern";
                var isWindowed = keys.IsList(pattern)
                    ? keys.LayersOrNull(pattern, config.LayerCount)!.Select(flag => flag != 0)
                    : Period((int?)keys.IntegerOrNull(pattern) ?? period, config.LayerCount);
                var kinds = isWindowed.Select(flag => flag && window > 0).ToList();
                return (config with { SlidingWindow = kinds.Contains(true) ? window : null }).PlanLayers(
                    (layer, plan) => plan with { Window = kinds[layer] ? window : null, Rotation = kinds[layer] ? windowed : full }
                );
            }
        );

    private static IEnumerable<bool> Period(int period, int layers) =>
        Enumerable.Range(0, layers).Select(layer => period == 0 || layer % period < period - 1);

    // Engines know EXAONE 4's windows by its number of layers.
    private static GgufTrait ExaoneWindows()
    {
        var windows = Windows(4, full: LayerRotation.None, absent: 4096);
        return new(
            config => config.SlidingWindow is null ? [] : windows.Write(config),
            (keys, config) =>
            {
                if (config.LayerCount == 64)
                    return windows.Read(keys, config);
                keys.Note(keys.Prefix + "attention.sliding_window");
                keys.Note(keys.Prefix + "attention.sliding_window_pattern");
                return config;
            }
        );
    }

    // Positions of the layers with a window.
    private static GgufTrait Local(Func<ModelConfig, double> absent) =>
        new(
            config => config.LocalRope is { } local && local.Theta != absent(config) ? [("rope.freq_base_swa", (float)local.Theta)] : [],
            (keys, config) =>
                config with
                {
                    LocalRope = new()
                    {
                        Theta = keys.NumberOrNull(keys.Prefix + "rope.freq_base_swa") ?? absent(config),
                        RotarySize = config.HeadSize,
                    },
                }
        );

    // YaRN's attention factor, and queries that grow with their position.
    private static GgufTrait GrowingQueries() =>
        new(
            config =>
                [
                    .. config.RopeScaling.MscaleAllDim is { } multiplier
                        ? [("rope.scaling.yarn_log_multiplier", (float)multiplier)]
                        : Array.Empty<(string, object)>(),
                    .. config.RopeScaling.QueryGrowth is { } growth
                        ? [("attention.temperature_scale", (float)growth)]
                        : Array.Empty<(string, object)>(),
                ],
            (keys, config) =>
            {
                var multiplier = keys.NumberOrNull(keys.Prefix + "rope.scaling.yarn_log_multiplier", 0);
                var growth = keys.NumberOrNull(keys.Prefix + "attention.temperature_scale", 0);
                var scaling = config.RopeScaling;
                keys.Fixed(
                    keys.Prefix + "attention.temperature_length",
                    scaling.OriginalMaxPositions ?? config.MaxPositions,
                    "queries grow with each original context"
                );
                if (scaling.Kind == "yarn" && multiplier > 0)
                    scaling = scaling with { Mscale = 1, MscaleAllDim = multiplier };
                return config with { RopeScaling = scaling with { QueryGrowth = growth > 0 ? growth : null } };
            }
        );

    private static GgufTrait DeltaNet() =>
        new(
            config =>
            {
                var net = config.LinearAttention!;
                List<(string, object)> keys =
                [
                    ("ssm.conv_kernel", (uint)net.ConvolutionSize),
                    ("ssm.state_size", (uint)net.KeySize),
                    ("ssm.group_count", (uint)net.KeyHeadCount),
                    ("ssm.time_step_rank", (uint)net.ValueHeadCount),
                    ("ssm.inner_size", (uint)(net.ValueHeadCount * net.ValueSize)),
                ];
                var period = Enumerable.Range(1, config.LayerCount).First(i => i == config.LayerCount || !config.GetLayer(i - 1).IsLinear);
                keys.Add(("full_attention_interval", (uint)period));
                return keys;
            },
            (keys, config) =>
            {
                int Of(string name) => keys.Integer(keys.Prefix + name);
                var (heads, inner, size) = (Of("ssm.time_step_rank"), Of("ssm.inner_size"), Of("ssm.state_size"));
                if (inner != heads * size)
                    throw keys.Bad(
                        keys.Prefix + "ssm.inner_size",
                        inner,
                        $"engines want {heads} value heads of {size} numbers, as keys have"
                    );
                var groups = Of("ssm.group_count");
                if (heads % groups != 0)
                    throw keys.Bad(keys.Prefix + "ssm.group_count", groups, $"it must divide the number of value heads, {heads}");
                var recurrent = keys.Prefix + "attention.recurrent_layers";
                var interval = (int?)keys.IntegerOrNull(keys.Prefix + "full_attention_interval", 1) ?? 4;
                var isLinear = keys.LayersOrNull(recurrent, config.LayerCount)?.Select(flag => flag != 0).ToList()
                    ?? [.. Enumerable.Range(1, config.LayerCount).Select(i => i % interval != 0)];
                return (
                    config with
                    {
                        LinearAttention = new()
                        {
                            KeyHeadCount = groups,
                            ValueHeadCount = heads,
                            KeySize = size,
                            ValueSize = size,
                            ConvolutionSize = Of("ssm.conv_kernel"),
                        },
                    }
                ).PlanLayers((layer, plan) => plan with { IsLinear = isLinear[layer] });
            }
        );

    // Which of a picture's three positions turns each pair; a text has three equal ones, and a fourth that is 0.
    private static GgufTrait Sections() =>
        new(
            config =>
            {
                var pairs = config.RotarySize / 2;
                return [("rope.dimension_sections", new[] { (pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0 })];
            },
            (keys, config) =>
            {
                var (name, pairs) = (keys.Prefix + "rope.dimension_sections", config.RotarySize / 2);
                var sections = keys.LayersOrNull(name, 4) ?? throw keys.Missing(name);
                return Enumerable.Range(0, pairs).All(pair => pair < 3 * sections[pair % 3])
                    ? config
                    : throw keys.Bad(name, string.Join(", ", sections), $"it must cover the {pairs} pairs of a head that are rotated");
            }
        );

    // Sizes of each kind of layer, and the last layers, which look at the keys of layers before them.
    private static GgufTrait Gemma4Layers() =>
        new(
            config =>
            {
                var windowed = config.Layers.FirstOrDefault(l => l.Window is not null) ?? config.Layers[0];
                List<(string, object)> keys =
                [
                    ("feed_forward_length", config.Layers.Select(l => l.IntermediateSize).ToArray()),
                    ("attention.head_count_kv", config.Layers.Select(l => l.KeyValueHeadCount).ToArray()),
                    ("attention.sliding_window", (uint)(config.SlidingWindow ?? 0)),
                    ("attention.sliding_window_pattern", config.Layers.Select(l => l.Window is not null).ToArray()),
                    ("attention.key_length_swa", (uint)windowed.HeadSize),
                    ("attention.value_length_swa", (uint)windowed.HeadSize),
                    ("attention.shared_kv_layers", (uint)config.Layers.Count(l => l.KeysOf is not null)),
                    ("embedding_length_per_layer_input", (uint)(config.TokenInputs?.Size ?? 0)),
                    ("rope.freq_base_swa", (float)(config.LocalRope?.Theta ?? config.RopeTheta)),
                    ("rope.dimension_count_swa", (uint)windowed.HeadSize),
                ];
                return config.Experts is null ? keys : keys.Concat(Mixture(hasSize: true).Write(config));
            },
            (keys, config) =>
            {
                string Key(string name) => keys.Prefix + name;
                var layers = config.LayerCount;
                var window = keys.Integer(Key("attention.sliding_window"), 0);
                var pattern = keys.LayersOrNull(Key("attention.sliding_window_pattern"), layers)
                    ?? throw keys.Missing(Key("attention.sliding_window_pattern"));
                var heads = keys.LayersOrNull(Key("attention.head_count_kv"), layers, 1)
                    ?? [.. Enumerable.Repeat(config.HeadCount, layers)];
                var widths = keys.LayersOrNull(Key("feed_forward_length"), layers, 1)!;
                var size = keys.Integer(Key("attention.key_length_swa"));
                keys.Fixed(Key("attention.value_length_swa"), size, "keys and values have the same size here");
                keys.Fixed(Key("rope.dimension_count_swa"), size, "whole heads are rotated in layers with a window");
                var shared = (int)(keys.IntegerOrNull(Key("attention.shared_kv_layers")) ?? 0);
                var inputs = (int)(keys.IntegerOrNull(Key("embedding_length_per_layer_input")) ?? 0);
                var own = layers - shared;
                bool IsWindowed(int layer) => pattern[layer] != 0 && window > 0;
                if (own < 2 && shared > 0)
                    throw keys.Bad(Key("attention.shared_kv_layers"), shared, $"of {layers} layers two must have keys of their own");
                config = keys.IntegerOrNull(Key("expert_count")) > 0 ? Mixture(hasSize: true).Read(keys, config) : config;
                keys.Fixed(Key("expert_used_count"), config.Experts?.PerToken ?? 0, "there are no experts");
                keys.Note(Key("expert_feed_forward_length"));
                var first = Enumerable.Range(0, layers).FirstOrDefault(IsWindowed, 0);
                return (
                    config with
                    {
                        SlidingWindow = Enumerable.Range(0, layers).Any(IsWindowed) ? window : null,
                        KeyValueHeadCount = heads[first],
                        IntermediateSize = widths[0],
                        LocalRope = new() { Theta = keys.NumberOrNull(Key("rope.freq_base_swa")) ?? 10000, RotarySize = size },
                        TokenInputs = inputs == 0 ? null : new() { Size = inputs, VocabularySize = config.VocabularySize },
                    }
                ).PlanLayers(
                    (layer, plan) =>
                        plan with
                        {
                            Window = IsWindowed(layer) ? window : null,
                            Rotation = IsWindowed(layer) ? LayerRotation.Local : LayerRotation.Main,
                            HeadSize = IsWindowed(layer) ? size : config.HeadSize,
                            KeyValueHeadCount = heads[layer],
                            IntermediateSize = widths[layer],
                            KeysOf =
                                layer < own ? null
                                : IsWindowed(layer) ? own - 2
                                : own - 1,
                            ValuesAreKeys = layer < own && !keys.HasTensor($"blk.{layer}.attn_v.weight"),
                        }
                );
            }
        );

    // Engines know by the number of layers which size has a scale of its own.
    private static double GemmaScale(ModelConfig config, int wide) =>
        1 / Math.Sqrt(config.LayerCount == wide ? (double)config.HiddenSize / config.HeadCount : config.HeadSize);

    // Value heads of one key head stand apart: value j of key head k at j G + k, for G key heads.
    private static int[] Tiled(ModelConfig config, int size)
    {
        var (values, keys) = (config.LinearAttention!.ValueHeadCount, config.LinearAttention.KeyHeadCount);
        var (rows, perKey) = (new int[values * size], values / keys);
        for (var row = 0; row < rows.Length; row++)
        {
            var head = row / size;
            rows[row] = (head % perKey * keys + head / perKey) * size + row % size;
        }
        return rows;
    }

    // Queries and keys, then values.
    private static int[] TiledChannels(ModelConfig config)
    {
        var net = config.LinearAttention!;
        var first = 2 * net.KeyHeadCount * net.KeySize;
        return [.. Enumerable.Range(0, first), .. Tiled(config, net.ValueSize).Select(row => first + row)];
    }

    // Number i of half j of a head stands at 2 i + j.
    private static int[] Neighbors(int heads, int size)
    {
        var rows = new int[heads * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var within = row % size;
            rows[row] = row - within + within % (size / 2) * 2 + within / (size / 2);
        }
        return rows;
    }

    // Number i of part p of head h, at h 3 K + p K + i, stands at p H K + h K + i.
    private static int[] PartByPart(int heads, int size)
    {
        var rows = new int[heads * 3 * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var (head, part, within) = (row / (3 * size), row / size % 3, row % size);
            rows[row] = (part * heads + head) * size + within;
        }
        return rows;
    }
}
