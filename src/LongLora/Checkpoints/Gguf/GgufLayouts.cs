using LongLora.Configs;
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
        (keys, config) => config with { SlidingWindow = keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) is > 0 and var w ? w : null }
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
        Llama("llama", LlamaConfig.ModelType) with { HasLongRope = true },
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
                        ? config with { RopeScaling = linear with { OriginalMaxPositions = (int)(config.MaxPositions / linear.Factor) } }
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
                GgufTrait.Number("attention.scale", c => c.AttentionScale ?? 1, (c, v) => c with { AttentionScale = v ?? 1 / Math.Sqrt(c.HeadSize) }),
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
                new("mlp.experts.down_proj", "ffn_down_exps.weight")
                {
                    View = all => all.transpose(1, 2),
                    Shape = s => [s[0], s[2], s[1]],
                },
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
            Traits =
            [
                new(_ => [], (keys, config) => config with { AttentionOutputBias = keys.HasTensor("blk.0.attn_output.bias") }),
            ],
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
        new("ernie4_5", Ernie45Config.ModelType) { Parts = [.. s_norms, .. s_attention, .. s_gated], Outer = s_outer, Traits = [s_interleaved] },
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
            part.Name.Contains("norm", StringComparison.Ordinal) ? part with { Values = (w => w.add(1), w => w.sub(1)) } : part
        );

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
                    (layer, plan) =>
                        plan with
                        {
                            Window = kinds[layer] ? window : null,
                            Rotation = kinds[layer] ? windowed : full,
                        }
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
                    LocalRope = new() { Theta = keys.NumberOrNull(keys.Prefix + "rope.freq_base_swa") ?? absent(config), RotarySize = config.HeadSize },
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

    // Engines know by the number of layers which size has a scale of its own.
    private static double GemmaScale(ModelConfig config, int wide) =>
        1 / Math.Sqrt(config.LayerCount == wide ? (double)config.HiddenSize / config.HeadCount : config.HeadSize);

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
