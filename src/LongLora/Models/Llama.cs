using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, h some of the H heads, K head size, D model size, F MLP size

/// <summary>
/// The Llama family (Llama 1 to 3.2 and models of the same architecture): RMSNorm before each branch, rotary positions, grouped-query
/// attention, SwiGLU.
/// </summary>
internal static class Llama
{
    internal static (EmbeddingLayer, IReadOnlyList<DecoderBlock>, INormLayer, LinearLayer) Build(ModelConfig config, LayerBuilder layers)
    {
        var embedding = layers.Embedding("model.embed_tokens", config.VocabularySize, config.HiddenSize);
        var blocks = new DecoderBlock[config.LayerCount];
        for (var i = 0; i < blocks.Length; i++)
            blocks[i] = new Block(config, layers, $"model.layers.{i}");
        var norm = layers.RmsNorm("model.norm", config.HiddenSize, config.NormEpsilon);
        return (embedding, blocks, norm, layers.Head("lm_head", embedding, config.TiedEmbeddings));
    }

    /// <summary>Stored by early exports, computed here from the config.</summary>
    internal static bool IsIgnored(string name) => name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal);

    private sealed class Block : DecoderBlock
    {
        private readonly int _queriesPerGroup, _headSize, _heads;
        private readonly LinearLayer _query, _key, _value, _gate, _up;

        internal Block(ModelConfig config, LayerBuilder layers, string name)
        {
            (HeadGroups, _heads, _headSize) = (config.KeyValueHeadCount, config.HeadCount, config.HeadSize);
            _queriesPerGroup = config.HeadCount / config.KeyValueHeadCount;
            int model = config.HiddenSize, mlp = config.IntermediateSize, all = config.HeadCount * _headSize, shared = HeadGroups * _headSize;
            AttentionNorm = layers.RmsNorm(name + ".input_layernorm", model, config.NormEpsilon);
            _query = layers.Linear(name + ".self_attn.q_proj", model, all, config.AttentionBias);
            _key = layers.Linear(name + ".self_attn.k_proj", model, shared, config.AttentionBias);
            _value = layers.Linear(name + ".self_attn.v_proj", model, shared, config.AttentionBias);
            AttentionOutput = layers.Linear(name + ".self_attn.o_proj", all, model, config.AttentionBias);
            MlpNorm = layers.RmsNorm(name + ".post_attention_layernorm", model, config.NormEpsilon);
            _gate = layers.Linear(name + ".mlp.gate_proj", model, mlp, config.MlpBias);
            _up = layers.Linear(name + ".mlp.up_proj", model, mlp, config.MlpBias);
            MlpOutput = layers.Linear(name + ".mlp.down_proj", mlp, model, config.MlpBias);
        }

        public override INormLayer AttentionNorm { get; }

        public override LinearLayer AttentionOutput { get; }

        public override INormLayer MlpNorm { get; }

        public override LinearLayer MlpOutput { get; }

        public override int HeadGroups { get; }

        public override AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context)
        {
            using var scope = NewDisposeScope();
            Tensor Heads(LinearLayer layer, int first, int count) => layer
                .Forward(input, new FeatureSlice((long)first * _headSize, (long)count * _headSize)) // [B, L, D] -> [B, L, h K]
                .unflatten(2, [count, _headSize]); // -> [B, L, h, K]

            var (firstHead, heads) = (firstGroup * _queriesPerGroup, groupCount * _queriesPerGroup);
            var query = context.Positions.Rotate(Heads(_query, firstHead, heads)).transpose(1, 2).MoveToOuterDisposeScope(); // -> [B, h, L, K]
            var key = context.Positions.Rotate(Heads(_key, firstGroup, groupCount)).transpose(1, 2).MoveToOuterDisposeScope();
            var value = Heads(_value, firstGroup, groupCount).transpose(1, 2).MoveToOuterDisposeScope();
            return new(query, key, value, new HeadSlice(firstHead, heads, _heads));
        }

        public override Tensor ProjectBackward(Tensor input, AttentionInputs gradients, int firstGroup, int groupCount, ForwardContext context)
        {
            using var scope = NewDisposeScope();
            var rows = input.reshape(-1, input.size(2));
            Tensor InputGradient(LinearLayer layer, Tensor gradient, int first, int count) // [B, L, h, K] -> [B L, D]
            {
                var (outputs, flat) = (new FeatureSlice((long)first * _headSize, (long)count * _headSize), gradient.reshape(-1, (long)count * _headSize));
                layer.AccumulateGradients(rows, flat, outputs);
                return layer.InputGradient(flat, null, outputs);
            }

            var (firstHead, heads) = (firstGroup * _queriesPerGroup, groupCount * _queriesPerGroup);
            return InputGradient(_query, context.Positions.RotateBack(gradients.Query.transpose(1, 2)), firstHead, heads)
                .add_(InputGradient(_key, context.Positions.RotateBack(gradients.Key.transpose(1, 2)), firstGroup, groupCount))
                .add_(InputGradient(_value, gradients.Value.transpose(1, 2), firstGroup, groupCount))
                .view(input.shape).MoveToOuterDisposeScope();
        }

        public override Tensor Activate(Tensor input)
        {
            using var scope = NewDisposeScope();
            return nn.functional.silu(_gate.Forward(input)).mul(_up.Forward(input)).MoveToOuterDisposeScope();
        }
    }
}
