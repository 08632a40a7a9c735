using LongLora.Configs;
using static LongLora.Checkpoints.GgufParts;
using static LongLora.Checkpoints.GgufRows;
using static LongLora.Checkpoints.GgufTraits;

namespace LongLora.Checkpoints;

/// <summary>
/// The families that GGUF has, as llama.cpp lays them out: names as gguf-py's constants list them, keys and orders as its converters write
/// them. A family is one entry.
/// </summary>
internal static class GgufLayouts
{
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
            Traits = [UnreadWindow],
        },
        Llama("llama", MixtralConfig.ModelType) with
        {
            IsChosen = HasExperts,
            HasExperts = true,
            Parts = [.. Norms, .. NeighborAttention, .. Experts("block_sparse_moe", "w1", "w3", "w2")],
            Traits = [Mixture(hasSize: false), UnreadWindow],
        },
        new("qwen2", QwenConfig.Qwen2) { Parts = [.. Norms, .. WholeAttention, .. Gated], Outer = Ends },
        new("qwen3", QwenConfig.Qwen3) { Parts = [.. Norms, .. WholeAttention, .. HeadNorms, .. Gated], Outer = Ends },
        new("qwen3moe", Qwen3MoeConfig.ModelType)
        {
            Parts = [.. Norms, .. WholeAttention, .. HeadNorms, .. Experts("mlp", "gate_proj", "up_proj", "down_proj")],
            Outer = Ends,
            HasExperts = true,
            Traits = [Mixture(hasSize: true)],
        },
        new("phi3", Phi3Config.ModelType)
        {
            Parts = [.. Norms, .. Both("self_attn.qkv_proj", "attn_qkv"), .. Both("self_attn.o_proj", "attn_output"), .. Fused],
            Outer = Ends,
            IsPartial = true,
            HasLongRope = true,
            Traits = [new(config => [("attention.sliding_window", (uint)(config.SlidingWindow ?? 0))], UnreadWindow.Read)],
        },
        new("gptneox", GptNeoXConfig.ModelType)
        {
            LayerPrefix = "gpt_neox.layers.",
            HasLayerNorm = true,
            IsPartial = true,
            Parts =
            [
                .. Norms,
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
            Parts = [.. Offset(GemmaNorms), .. WholeAttention, .. Offset(HeadNorms), .. Gated],
            Outer = [Ends[0], .. Offset(Ends[1..])],
            HasWindows = true,
            Traits =
            [
                Gelu,
                GgufTrait.Fact(config => config with { AttentionScale = GemmaScale(config, wide: 62) }),
                LogitCap,
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
            Parts = [.. Offset(GemmaNorms), .. WholeAttention, .. Gated],
            Outer = [Ends[0], .. Offset(Ends[1..])],
            HasWindows = true,
            Traits =
            [
                Gelu,
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
        new("olmo2", Olmo2Config.ModelType) { Parts = [.. EndNorms, .. WholeAttention, .. HeadNorms, .. Gated], Outer = Ends },
        new("olmo2", Olmo3Config.ModelType)
        {
            Parts = [.. EndNorms, .. WholeAttention, .. HeadNorms, .. Gated],
            Outer = Ends,
            HasWindows = true,
            IsChosen = HasWindow,
            Traits = [Windows(4, windowed: LayerRotation.Local), Local(absent: config => config.RopeTheta)],
        },
        new("glm4", GlmConfig.Glm4)
        {
            Parts =
            [
                .. Norms,
                new("post_self_attn_layernorm.weight", "post_attention_norm.weight"),
                new("post_mlp_layernorm.weight", "post_ffw_norm.weight"),
                .. WholeAttention,
                .. Fused,
            ],
            Outer = Ends,
            IsPartial = true,
            Traits = [Interleaved, InputBias],
        },
        new("chatglm", GlmConfig.Glm)
        {
            Parts = [.. Norms, .. WholeAttention, .. Fused],
            Outer = Ends,
            IsPartial = true,
            Traits = [Interleaved, InputBias, WholeWidth],
        },
        new("gpt-oss", GptOssConfig.ModelType)
        {
            Parts =
            [
                new("input_layernorm.weight", "attn_norm.weight"),
                new("post_attention_layernorm.weight", "post_attention_norm.weight"),
                .. WholeAttention,
                new("self_attn.sinks", "attn_sinks.weight"),
                .. Both("mlp.router", "ffn_gate_inp"),
                .. Alternating("mlp.experts.gate_up_proj", "ffn_gate_exps", 0),
                .. Alternating("mlp.experts.gate_up_proj", "ffn_up_exps", 1),
                new("mlp.experts.down_proj", "ffn_down_exps.weight") { View = all => all.transpose(1, 2), Shape = s => [s[0], s[2], s[1]] },
                new("mlp.experts.down_proj_bias", "ffn_down_exps.bias"),
            ],
            Outer = Ends,
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
                .. WholeAttention,
                .. Gated,
            ],
            Outer = Ends,
            Traits = [new(_ => [], (keys, config) => config with { AttentionOutputBias = keys.HasTensor("blk.0.attn_output.bias") })],
        },
        new("exaone4", Exaone4Config.ModelType)
        {
            Parts = [.. EndNorms, .. WholeAttention, .. HeadNorms, .. Gated],
            Outer = Ends,
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
            Parts = [.. Both("input_layernorm", "attn_norm"), .. WholeAttention, .. Gated],
            Outer = Ends,
            HasLayerNorm = true,
            HasWindows = true,
            Traits =
            [
                Interleaved,
                GgufTrait.Fact(config => config with { ParallelResidual = true }),
                GgufTrait.Number("logit_scale", c => c.LogitFactor, (c, v) => c with { LogitFactor = v is > 0 ? v.Value : 1 }),
                Windows(4, full: LayerRotation.None),
            ],
        },
        new("ernie4_5", Ernie45Config.ModelType)
        {
            Parts = [.. Norms, .. WholeAttention, .. Gated],
            Outer = Ends,
            Traits = [Interleaved],
        },
        new("hunyuan-dense", HunyuanConfig.ModelType)
        {
            Parts =
            [
                .. Norms,
                .. WholeAttention,
                new("self_attn.query_layernorm.weight", "attn_q_norm.weight"),
                new("self_attn.key_layernorm.weight", "attn_k_norm.weight"),
                .. Gated,
            ],
            Outer = Ends,
        },
        Llama("arcee", ArceeConfig.ModelType) with
        {
            Parts = [.. Norms, .. NeighborAttention, .. Plain],
            Traits = [GgufTrait.Fact(config => config with { Activation = "relu2" })],
        },
        new("apertus", ApertusConfig.ModelType)
        {
            Parts =
            [
                new("attention_layernorm.weight", "attn_norm.weight"),
                new("feedforward_layernorm.weight", "ffn_norm.weight"),
                .. WholeAttention,
                .. HeadNorms,
                .. Plain,
            ],
            Outer = Ends,
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
                    .. HeadNorms,
                ]),
                .. WholeAttention,
                .. Gated,
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
            Outer = [Ends[0], .. Offset(Ends[1..])],
            IsPartial = true,
            HasFurtherBlocks = true,
            Traits = [DeltaNet(), Sections()],
        },
        new("gemma4", Gemma4Config.ModelType)
        {
            Parts =
            [
                .. GemmaNorms,
                .. WholeAttention,
                .. HeadNorms,
                .. Gated,
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
                .. Ends,
                new("model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight"),
                new("model.per_layer_model_projection.weight", "per_layer_model_proj.weight"),
                new("model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight"),
            ],
            HasWindows = true,
            HasDivisors = true,
            HasUnlikeLayers = true,
            HasExperts = true,
            Traits = [Gelu, GgufTrait.Fact(config => config with { AttentionScale = 1 }), LogitCap, Gemma4Layers()],
        },
    ];

    private static GgufLayout Llama(string architecture, string modelType) =>
        new(architecture, modelType)
        {
            Parts = [.. Norms, .. NeighborAttention, .. Gated],
            Outer = Ends,
            HasDivisors = true,
        };
}
