using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// The Llama family (Llama 1 to 3.2 and models of the same architecture): RMSNorm before each branch, rotary positions, grouped-query
/// attention, SwiGLU. Related families differ in a few layers; their files say which.
/// </summary>
internal static class Llama
{
    internal static ModelFamily Family { get; } = new(Build, "lm_head", IsIgnored);

    internal static ModelParts Build(ModelConfig config, LayerBuilder layers) => Build(config, layers, BuildBlock);

    /// <summary>The chain around the blocks. Related families use the same names.</summary>
    internal static ModelParts Build(ModelConfig config, LayerBuilder layers, Func<ModelConfig, LayerBuilder, int, GatedBlock> block)
    {
        var embedding = layers.AddEmbedding("model.embed_tokens", config.VocabularySize, config.HiddenSize);
        var blocks = new DecoderBlock[config.LayerCount];
        for (var i = 0; i < blocks.Length; i++)
            blocks[i] = block(config, layers, i);
        var norm = layers.AddRmsNorm("model.norm", config.HiddenSize, config.NormEpsilon);
        return new(embedding, blocks, norm, layers.AddHead("lm_head", embedding, config.TiedEmbeddings));
    }

    /// <summary>Tensors that early exports stored and that are computed here from the config.</summary>
    internal static bool IsIgnored(string name) => name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    private static GatedBlock BuildBlock(ModelConfig config, LayerBuilder layers, int layer) =>
        BuildBlock(config, layers, layer, config.AttentionBias, config.AttentionBias);

    /// <summary>A block with separate layers for q, k, v, gate and up.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Makes the layers.</param>
    /// <param name="layer">Index of the layer.</param>
    /// <param name="inputBias">Whether q, k and v have a bias.</param>
    /// <param name="outputBias">Whether o has one.</param>
    /// <param name="headNorms">Whether each query and key head has its own RMSNorm.</param>
    internal static GatedBlock BuildBlock(
        ModelConfig config,
        LayerBuilder layers,
        int layer,
        bool inputBias,
        bool outputBias,
        bool headNorms = false
    )
    {
        var name = $"model.layers.{layer}";
        int model = config.HiddenSize,
            mlp = config.IntermediateSize;
        HeadProjection Heads(string letter, int count, bool norm = false) =>
            new(
                layers.AddLinear($"{name}.self_attn.{letter}_proj", model, (long)count * config.HeadSize, inputBias),
                config.HeadSize,
                Norm: norm ? layers.AddRmsNorm($"{name}.self_attn.{letter}_norm", config.HeadSize, config.NormEpsilon) : null
            );

        return new GatedBlock(config, layer)
        {
            AttentionNorm = layers.AddRmsNorm(name + ".input_layernorm", model, config.NormEpsilon),
            Query = Heads("q", config.HeadCount, headNorms),
            Key = Heads("k", config.KeyValueHeadCount, headNorms),
            Value = Heads("v", config.KeyValueHeadCount),
            AttentionOutput = layers.AddLinear(name + ".self_attn.o_proj", (long)config.HeadCount * config.HeadSize, model, outputBias),
            MlpNorm = layers.AddRmsNorm(name + ".post_attention_layernorm", model, config.NormEpsilon),
            Gate = layers.AddLinear(name + ".mlp.gate_proj", model, mlp, config.MlpBias),
            Up = layers.AddLinear(name + ".mlp.up_proj", model, mlp, config.MlpBias),
            MlpOutput = layers.AddLinear(name + ".mlp.down_proj", mlp, model, config.MlpBias),
        };
    }
}
