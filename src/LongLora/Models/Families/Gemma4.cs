using LongLora.Configs;
using LongLora.Layers;
using LongLora.Runtime;

namespace LongLora.Models;

/// <summary>
/// The text part of the Gemma 4 family: norms before and after each branch and over each query, key and value head; a window in five of six
/// layers; larger heads in the other layers, of which RoPE rotates a quarter. Small sizes have per-layer inputs for each token, and their
/// last layers reuse keys and values of earlier layers. The mixture of experts has experts in addition to the MLP.
/// </summary>
internal static class Gemma4
{
    private static readonly BlockDesign s_dense = new()
    {
        AttentionEndNorm = "post_attention_layernorm",
        MlpNorm = "pre_feedforward_layernorm",
        MlpEndNorm = "post_feedforward_layernorm",
        HeadNorms = ("q_norm", "k_norm"),
        HasValueNorm = true,
        Tail = MakeTail,
    };

    private static readonly BlockDesign s_mixture = s_dense with { MlpNorm = null, Mlp = MakeMixture };

    private static readonly string[] s_unread =
    [
        ".self_attn.k_proj.weight",
        ".self_attn.v_proj.weight",
        ".self_attn.k_norm.weight",
        ".self_attn.v_norm.weight",
    ];

    internal static ModelFamily Family { get; } =
        Llama.Family with
        {
            Build = Build,
            // Published files contain unused keys and values for layers that reuse those of other layers.
            IsIgnored = name => Llama.IsIgnored(name) || s_unread.Any(end => name.EndsWith(end, StringComparison.Ordinal)),
        };

    private static ModelParts Build(ModelConfig config, LayerBuilder layers)
    {
        var parts = Llama.Build(config, layers, s_dense.Norm, (c, l, layer) =>
            Llama.MakeBlock(c, l, layer, c.GetLayer(layer).HasExperts ? s_mixture : s_dense)
        );
        if (config.TokenInputs is not { } inputs)
            return parts;
        var width = (long)config.LayerCount * inputs.Size;
        return parts with
        {
            TokenInputs = new TokenInputs(
                layers.AddEmbedding("model.embed_tokens_per_layer", inputs.VocabularySize, width, Math.Sqrt(inputs.Size)),
                layers.AddLinear("model.per_layer_model_projection", config.HiddenSize, width),
                layers.AddRmsNorm("model.per_layer_projection_norm", inputs.Size, config.NormEpsilon),
                inputs.Size
            ),
        };
    }

    private static BlockTail MakeTail(ModelConfig config, LayerBuilder layers, string name, int layer)
    {
        var factor = layers.AddConstant(name + ".layer_scalar", 1, 1);
        return config.TokenInputs is not { } inputs
            ? new BlockTail(layer, factor)
            : new BlockTail(layer, factor)
            {
                Branch = (
                    layers.AddLinear(name + ".per_layer_input_gate", config.HiddenSize, inputs.Size),
                    layers.AddLinear(name + ".per_layer_projection", inputs.Size, config.HiddenSize),
                    Activations.Get(config.Activation),
                    layers.AddRmsNorm(name + ".post_per_layer_input_norm", config.HiddenSize, config.NormEpsilon)
                ),
            };
    }

    private static SideBySideMlp MakeMixture(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan)
    {
        var (experts, model) = (config.Experts!, config.HiddenSize);
        var (count, share) = (experts.Count, (double)experts.PerToken / experts.Count);
        INormLayer Norm(string own) => layers.AddRmsNorm($"{name}.{own}", model, config.NormEpsilon);
        var (unit, scale) = (new RmsNorm(null, config.NormEpsilon), layers.AddWeight(name + ".router.scale", WeightRole.Scale, model));
        var router = new ExpertRouter(layers.AddWeight(name + ".router.proj.weight", WeightRole.Matrix, count, model), null, experts)
        {
            ExpertScale = layers.AddWeight(name + ".router.per_expert_scale", WeightRole.Scale, count),
        };
        var wide = layers.AddExperts(new ExpertStack(name + ".experts.gate_up_proj", model, 2L * experts.Size, false), count, share);
        var down = layers.AddExperts(new ExpertStack(name + ".experts.down_proj", experts.Size, model, false), count, share);
        var activation = new GatedActivation(config.Activation);
        return new()
        {
            DenseNorm = Norm("pre_feedforward_layernorm"),
            Dense = (DenseMlp)GatedMlp.Build(config, layers, name, plan),
            DenseEnd = Norm("post_feedforward_layernorm_1"),
            ExpertNorm = Norm("pre_feedforward_layernorm_2"),
            Experts = new ExpertMlp(
                router,
                [.. Enumerable.Range(0, count).Select(DenseMlp (e) => new GatedMlp(wide[e], null, activation) { Output = down[e] })]
            ),
            ExpertEnd = Norm("post_feedforward_layernorm_2"),
            Show = rows => unit.Forward(rows).mul(scale.Value.In(rows.dtype)).mul(Scalars.Of(1 / Math.Sqrt(model))),
        };
    }
}
