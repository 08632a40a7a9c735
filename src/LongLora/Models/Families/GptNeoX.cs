using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, h some of the H heads, K head size, D model size, F MLP size

/// <summary>
/// The GPT-NeoX family (GPT-NeoX-20B, arXiv 2204.06745; Pythia, Dolly 2, RedPajama-INCITE, StableLM alpha): LayerNorm with bias, attention
/// and MLP in parallel or in sequence, rotary positions on a part of each head, one layer for q, k and v, and an MLP with GELU.
/// </summary>
internal static class GptNeoX
{
    internal static ModelFamily Family { get; } = new(Build, "gpt_neox.embed_in", "embed_out", IsIgnored);

    private static ModelParts Build(ModelConfig config, LayerBuilder layers)
    {
        var embedding = layers.AddEmbedding("gpt_neox.embed_in", config.VocabularySize, config.HiddenSize);
        var blocks = layers.AddBlocks(config.LayerCount, i => new Block(config, layers, $"gpt_neox.layers.{i}"));
        var norm = layers.AddLayerNorm("gpt_neox.final_layer_norm", config.HiddenSize, config.NormEpsilon);
        return new(embedding, blocks, norm, layers.AddHead("embed_out", embedding, config.TiedEmbeddings));
    }

    // Rotary table and causal mask, which early exports stored.
    private static bool IsIgnored(string name) =>
        name.EndsWith(".attention.rotary_emb.inv_freq", StringComparison.Ordinal)
        || name.EndsWith(".attention.bias", StringComparison.Ordinal)
        || name.EndsWith(".attention.masked_bias", StringComparison.Ordinal);

    private sealed class Block : DecoderBlock
    {
        private readonly int _headSize;
        private readonly LinearLayer _all;

        internal Block(ModelConfig config, LayerBuilder layers, string name)
        {
            (IsParallel, HeadGroups, _headSize) = (config.ParallelResidual, config.HeadCount, config.HeadSize);
            int model = config.HiddenSize,
                mlp = config.IntermediateSize;
            AttentionNorm = layers.AddLayerNorm(name + ".input_layernorm", model, config.NormEpsilon);
            _all = layers.AddLinear(name + ".attention.query_key_value", model, 3L * model, config.AttentionBias); // head by head: q, k, v
            AttentionOutput = layers.AddLinear(name + ".attention.dense", model, model, config.AttentionBias);
            MlpNorm = layers.AddLayerNorm(name + ".post_attention_layernorm", model, config.NormEpsilon);
            var wide = layers.AddLinear(name + ".mlp.dense_h_to_4h", model, mlp, bias: true);
            Mlp = new PlainMlp(wide, Activations.Get(config.Activation))
            {
                Output = layers.AddLinear(name + ".mlp.dense_4h_to_h", mlp, model, bias: true),
            };
        }

        public override bool IsParallel { get; }

        public override INormLayer AttentionNorm { get; init; }

        public override LinearLayer AttentionOutput { get; init; }

        public override INormLayer MlpNorm { get; init; }

        public override FeedForward Mlp { get; init; }

        public override int HeadGroups { get; }

        public override IReadOnlyList<LinearLayer> AttentionLayers => [_all, AttentionOutput];

        public override AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context)
        {
            using var scope = NewDisposeScope();
            // [B, L, D] -> [B, L, h, 3, K]
            var heads = _all.Forward(input, SelectOutputs(firstGroup, groupCount)).unflatten(2, [groupCount, 3, _headSize]);
            // -> [B, h, L, K]
            Tensor Rotate(int part) => context.Positions.Rotate(heads.select(3, part)).transpose(1, 2).MoveToOuterDisposeScope();
            // Copied, so that the combined tensor can be freed.
            return new(
                Rotate(0),
                Rotate(1),
                heads.select(3, 2).contiguous().transpose(1, 2).MoveToOuterDisposeScope(),
                new HeadSlice(firstGroup, groupCount, HeadGroups)
            );
        }

        public override Tensor ProjectBackward(
            Tensor input,
            AttentionInputs gradients,
            int firstGroup,
            int groupCount,
            ForwardContext context
        )
        {
            using var scope = NewDisposeScope();
            var heads = stack(
                [
                    context.Positions.RotateBack(gradients.Query.transpose(1, 2)),
                    context.Positions.RotateBack(gradients.Key.transpose(1, 2)),
                    gradients.Value.transpose(1, 2),
                ],
                3
            ); // [B, h, L, K] -> [B, L, h, 3, K]
            var (flat, outputs) = (heads.view(-1, 3L * groupCount * _headSize), SelectOutputs(firstGroup, groupCount));
            _all.AccumulateGradients(input.reshape(-1, input.size(2)), flat, outputs);
            return _all.ComputeInputGradient(flat, null, outputs).view(input.shape).MoveToOuterDisposeScope();
        }

        private FeatureSlice SelectOutputs(int first, int count) => new(3L * first * _headSize, 3L * count * _headSize);
    }
}
