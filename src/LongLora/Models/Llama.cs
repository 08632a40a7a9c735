using LongLora.Checkpoints;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, H query heads, J key-value heads, K head size, D model size, F MLP size

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
        private readonly int _heads, _sharedHeads, _headSize;
        private readonly INormLayer _attentionNorm, _mlpNorm;
        private readonly LinearLayer _query, _key, _value, _output, _gate, _up, _down;

        internal Block(ModelConfig config, LayerBuilder layers, string name)
        {
            (_heads, _sharedHeads, _headSize) = (config.HeadCount, config.KeyValueHeadCount, config.HeadSize);
            int model = config.HiddenSize, mlp = config.IntermediateSize, all = _heads * _headSize, shared = _sharedHeads * _headSize;
            _attentionNorm = layers.RmsNorm(name + ".input_layernorm", model, config.NormEpsilon);
            _query = layers.Linear(name + ".self_attn.q_proj", model, all, config.AttentionBias);
            _key = layers.Linear(name + ".self_attn.k_proj", model, shared, config.AttentionBias);
            _value = layers.Linear(name + ".self_attn.v_proj", model, shared, config.AttentionBias);
            _output = layers.Linear(name + ".self_attn.o_proj", all, model, config.AttentionBias);
            _mlpNorm = layers.RmsNorm(name + ".post_attention_layernorm", model, config.NormEpsilon);
            _gate = layers.Linear(name + ".mlp.gate_proj", model, mlp, config.MlpBias);
            _up = layers.Linear(name + ".mlp.up_proj", model, mlp, config.MlpBias);
            _down = layers.Linear(name + ".mlp.down_proj", mlp, model, config.MlpBias);
        }

        public override Tensor Attend(Tensor hidden, ForwardContext context)
        {
            using var scope = NewDisposeScope();
            long batch = hidden.size(0), length = hidden.size(1);
            Tensor Heads(LinearLayer layer, Tensor input, int count) => layer.Forward(input).view(batch, length, count, _headSize);

            var input = _attentionNorm.Forward(hidden);
            var query = context.Positions.Rotate(Heads(_query, input, _heads)).transpose(1, 2); // -> [B, H, L, K]
            var key = context.Positions.Rotate(Heads(_key, input, _sharedHeads)).transpose(1, 2); // -> [B, J, L, K]
            var value = Heads(_value, input, _sharedHeads).transpose(1, 2); // -> [B, J, L, K]
            var attended = context.Attention.Attend(query, key, value, context.Segments);
            return _output.Forward(attended.transpose(1, 2).reshape(batch, length, _heads * _headSize)).MoveToOuterDisposeScope(); // -> [B, L, D]
        }

        public override Tensor Transform(Tensor hidden)
        {
            using var scope = NewDisposeScope();
            var input = _mlpNorm.Forward(hidden);
            return _down.Forward(nn.functional.silu(_gate.Forward(input)).mul(_up.Forward(input))).MoveToOuterDisposeScope();
        }
    }
}
