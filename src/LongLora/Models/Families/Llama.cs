using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// The Llama family (Llama 1 to 3.2 and models of the same architecture): RMSNorm before each branch, rotary positions, grouped-query
/// attention, SwiGLU. Related families differ in a few layers; their files say which.
/// </summary>
internal static class Llama
{
    internal static ModelFamily Family { get; } = Derive(new BlockDesign());

    /// <summary>A relative whose blocks have another design.</summary>
    internal static ModelFamily Derive(BlockDesign design) =>
        new(
            (config, layers) => Build(config, layers, design.Norm, (c, l, layer) => MakeBlock(c, l, layer, design)),
            "model.embed_tokens",
            "lm_head",
            IsIgnored
        );

    /// <summary>The chain around the blocks. Related families use the same names.</summary>
    internal static ModelParts Build(
        ModelConfig config,
        LayerBuilder layers,
        Func<LayerBuilder, string, long, double, INormLayer> norm,
        Func<ModelConfig, LayerBuilder, int, DecoderBlock> block
    )
    {
        var embedding = layers.AddEmbedding("model.embed_tokens", config.VocabularySize, config.HiddenSize, config.EmbeddingFactor);
        var blocks = layers.AddBlocks(config.LayerCount, i => block(config, layers, i));
        var final = norm(layers, "model.norm", config.HiddenSize, config.NormEpsilon);
        return new(embedding, blocks, final, layers.AddHead("lm_head", embedding, config.TiedEmbeddings));
    }

    /// <summary>Tensors that early exports stored and that are computed here from the config.</summary>
    internal static bool IsIgnored(string name) => name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    /// <summary>A block with separate q, k and v layers.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Makes the layers.</param>
    /// <param name="layer">Index of the layer.</param>
    /// <param name="design">How it differs from Llama's.</param>
    internal static AttentionBlock MakeBlock(ModelConfig config, LayerBuilder layers, int layer, BlockDesign design)
    {
        var (name, plan) = ($"model.layers.{layer}", config.GetLayer(layer));
        var (model, size) = (config.HiddenSize, plan.HeadSize);
        var (inputBias, outputBias) = design.Biases(config);
        INormLayer? Norm(string? own) => own is null ? null : design.Norm(layers, $"{name}.{own}", model, config.NormEpsilon);
        HeadProjection Heads(string letter, int count, string? norm, double factor = 1, int parts = 1)
        {
            var width = (long)count * size;
            var linear = layers.AddLinear($"{name}.self_attn.{letter}_proj", model, parts * width, inputBias);
            var own = norm is null
                ? null
                : design.Norm(
                    layers,
                    $"{name}.self_attn.{norm}",
                    design.HeadNormPlace == HeadNormPlace.WholeWidth ? width : size,
                    config.NormEpsilon
                );
            return new(linear, size, 0, own, design.HeadNormPlace, factor, parts);
        }

        var before = Norm(design.AttentionNorm);
        // The kernels divide by sqrt(K).
        var factor = config.AttentionScale is { } scale ? scale * Math.Sqrt(size) : 1;
        var query = Heads("q", config.HeadCount, design.HeadNorms?.Query, factor, design.HasOutputGate ? 2 : 1);
        var key = plan.KeysOf is null ? Heads("k", plan.KeyValueHeadCount, design.HeadNorms?.Key) : null;
        var value =
            key is null ? null
            : plan.ValuesAreKeys ? new HeadProjection(key.Layer, size)
            : Heads("v", plan.KeyValueHeadCount, null);
        if (value is not null && design.HasValueNorm)
            value = value with { Norm = new RmsNorm(null, config.NormEpsilon) };
        return new AttentionBlock(config, layer)
        {
            AttentionNorm = before ?? new IdentityNorm(),
            Query = query,
            Gate = design.HasOutputGate ? new HeadProjection(query.Layer, size, Parts: 2, Part: 1) : null,
            Key = key,
            Value = value,
            Sinks = design.HasSinks ? layers.AddWeight($"{name}.self_attn.sinks", WeightRole.Bias, config.HeadCount) : null,
            AttentionOutput = layers.AddLinear(name + ".self_attn.o_proj", (long)config.HeadCount * size, model, outputBias),
            AttentionEnd = new(Norm(design.AttentionEndNorm), config.ResidualFactor),
            MlpNorm = Norm(design.MlpNorm) ?? (config.ParallelResidual ? before : null) ?? new IdentityNorm(),
            Mlp = design.Mlp(config, layers, name, plan),
            MlpEnd = new(Norm(design.MlpEndNorm), config.ResidualFactor),
            Tail = design.Tail?.Invoke(config, layers, name, layer),
        };
    }
}
