using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// The text part of the dense Qwen3.5 family. Three of four layers have a recurrent state (<see cref="GatedDeltaNet"/>). The others have
/// full attention with a norm over each query and key head, positions on a quarter of each head, and a gate on the output. Norms have a
/// scale of 1 + w.
/// </summary>
internal static class Qwen35
{
    private static readonly BlockDesign s_attention = new()
    {
        HeadNorms = ("q_norm", "k_norm"),
        Norm = (layers, name, size, epsilon) => layers.AddOffsetRmsNorm(name, size, epsilon),
        HasOutputGate = true,
    };

    internal static ModelFamily Family { get; } =
        Llama.Family with
        {
            Build = (config, layers) => Llama.Build(config, layers, s_attention.Norm, MakeBlock),
            // Heads that predict several tokens at once. They are not part of the language model.
            IsIgnored = name => Llama.IsIgnored(name) || name.StartsWith("mtp.", StringComparison.Ordinal),
        };

    private static DecoderBlock MakeBlock(ModelConfig config, LayerBuilder layers, int layer)
    {
        var plan = config.GetLayer(layer);
        if (!plan.IsLinear)
            return Llama.MakeBlock(config, layers, layer, s_attention);
        var name = $"model.layers.{layer}";
        var norm = s_attention.Norm(layers, name + ".input_layernorm", config.HiddenSize, config.NormEpsilon);
        var recurrence = new GatedDeltaNet(config, layers, name + ".linear_attn");
        return new RecurrentBlock
        {
            AttentionNorm = norm,
            Recurrence = recurrence,
            AttentionOutput = layers.AddLinear(name + ".linear_attn.out_proj", recurrence.Width, config.HiddenSize),
            MlpNorm = s_attention.Norm(layers, name + ".post_attention_layernorm", config.HiddenSize, config.NormEpsilon),
            Mlp = GatedMlp.Build(config, layers, name, plan),
        };
    }
}
