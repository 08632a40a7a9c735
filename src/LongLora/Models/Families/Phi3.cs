using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// The Phi-3, Phi-3.5 and Phi-4 family (arXiv 2404.14219): Llama's block with q, k and v in one layer, gate and up in another, and no
/// biases. The long versions use LongRoPE; Phi-4-mini rotates three quarters of each head.
/// </summary>
internal static class Phi3
{
    internal static ModelFamily Family { get; } =
        Llama.Family with
        {
            Build = (config, layers) =>
                Llama.Build(config, layers, (l, name, size, epsilon) => l.AddRmsNorm(name, size, epsilon), MakeBlock),
        };

    private static AttentionBlock MakeBlock(ModelConfig config, LayerBuilder layers, int layer)
    {
        var name = $"model.layers.{layer}";
        int model = config.HiddenSize,
            size = config.HeadSize;
        long queries = (long)config.HeadCount * size,
            shared = (long)config.KeyValueHeadCount * size;
        var norm = layers.AddRmsNorm(name + ".input_layernorm", model, config.NormEpsilon);
        var all = layers.AddLinear(name + ".self_attn.qkv_proj", model, queries + 2 * shared); // q, then k, then v
        return new AttentionBlock(config, layer)
        {
            AttentionNorm = norm,
            Query = new(all, size),
            Key = new(all, size, queries),
            Value = new(all, size, queries + shared),
            AttentionOutput = layers.AddLinear(name + ".self_attn.o_proj", queries, model),
            MlpNorm = layers.AddRmsNorm(name + ".post_attention_layernorm", model, config.NormEpsilon),
            Mlp = GatedMlp.BuildFused(config, layers, name, config.GetLayer(layer)),
        };
    }
}
