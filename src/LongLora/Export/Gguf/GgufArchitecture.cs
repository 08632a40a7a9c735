using System.Text.RegularExpressions;
using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

// O outputs, I inputs, H heads, K head size

/// <summary>
/// How one model family is written down in GGUF: the name of its architecture, its metadata, the names and the layout of its tensors.
/// </summary>
/// <remarks>
/// Names and keys as ggml's GGUF documentation and gguf-py's constants list them. Two layouts differ from Hugging Face's: the llama
/// architecture turns neighbouring numbers of a head, where Hugging Face turns the first half with the second, so rows of q and k change
/// places; and gptneox has all q before all k before all v, where Hugging Face has them head by head.
/// </remarks>
internal sealed partial class GgufArchitecture
{
    private static readonly Dictionary<string, string> s_outer = new(StringComparer.Ordinal)
    {
        ["model.embed_tokens"] = "token_embd",
        ["model.norm"] = "output_norm",
        ["lm_head"] = "output",
        ["gpt_neox.embed_in"] = "token_embd",
        ["gpt_neox.final_layer_norm"] = "output_norm",
        ["embed_out"] = "output",
    };

    private static readonly Dictionary<string, string> s_inner = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        ["self_attn.o_proj"] = "attn_output",
        ["self_attn.qkv_proj"] = "attn_qkv",
        ["self_attn.q_norm"] = "attn_q_norm",
        ["self_attn.k_norm"] = "attn_k_norm",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",
        ["mlp.gate_up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
        ["attention.query_key_value"] = "attn_qkv",
        ["attention.dense"] = "attn_output",
        ["mlp.dense_h_to_4h"] = "ffn_up",
        ["mlp.dense_4h_to_h"] = "ffn_down",
    };

    private readonly ModelConfig _config;

    private GgufArchitecture(ModelConfig config, string name) => (_config, Name) = (config, name);

    /// <summary><c>general.architecture</c>.</summary>
    public string Name { get; }

    /// <summary>The architecture of a model.</summary>
    /// <exception cref="ConfigurationException">GGUF has none for the family, or none for its positions.</exception>
    public static GgufArchitecture Of(ModelConfig config) =>
        new(
            config,
            config.ModelType switch
            {
                "llama" or "mistral" => "llama",
                "qwen2" => "qwen2",
                "qwen3" => "qwen3",
                "phi3" => "phi3",
                "gpt_neox" => "gptneox",
                _ => throw new ConfigurationException(
                    $"Models of type '{config.ModelType}' cannot be written as GGUF; llama, mistral, qwen2, qwen3, phi3 and gpt_neox can."
                ),
            }
        );

    /// <summary>
    /// The context that engines are told. They compute full attention in these architectures, so with a sliding window only as far as it
    /// reaches are their numbers the model's.
    /// </summary>
    private int Context =>
        Math.Min(
            RopeScaling.GetCurrentContext(_config),
            _config.SlidingWindow is { } window && _config.FirstWindowedLayer < _config.LayerCount ? window : int.MaxValue
        );

    /// <summary>The name of a tensor, such as <c>blk.0.attn_q.weight</c> for <c>model.layers.0.self_attn.q_proj.weight</c>.</summary>
    public static string TensorName(string name)
    {
        var dot = name.LastIndexOf('.');
        var (module, kind) = (name[..dot], name[dot..]);
        if (s_outer.TryGetValue(module, out var outer))
            return outer + kind;
        var match = LayerName().Match(module);
        return match.Success && s_inner.TryGetValue(match.Groups[2].Value, out var inner)
            ? $"blk.{match.Groups[1].Value}.{inner}{kind}"
            : throw new InvalidOperationException($"'{name}' has no name in GGUF.");
    }

    /// <summary>
    /// The rows of a tensor, a matrix or a bias of outputs, in the architecture's order; the tensor itself where that is Hugging Face's.
    /// </summary>
    public Tensor Arranged(string name, Tensor value)
    {
        var module = name[..name.LastIndexOf('.')];
        long size = _config.HeadSize;
        if (Name == "llama" && module.EndsWith(".q_proj", StringComparison.Ordinal))
            return Interleaved(value, _config.HeadCount);
        if (Name == "llama" && module.EndsWith(".k_proj", StringComparison.Ordinal))
            return Interleaved(value, _config.KeyValueHeadCount);
        return Name == "gptneox" && module.EndsWith(".query_key_value", StringComparison.Ordinal)
            ? Rows(value, [_config.HeadCount, 3, size]) // [H 3 K, ..] -> [3 H K, ..]
            : value;
    }

    /// <summary>The metadata under the architecture's own name.</summary>
    /// <exception cref="ConfigurationException">The model's positions, or its lack of biases, have no counterpart.</exception>
    public IEnumerable<(string Key, object Value)> Keys()
    {
        if (Name == "gptneox" && !_config.AttentionBias)
            throw new ConfigurationException("A GPT-NeoX model without attention biases has no counterpart in GGUF: engines ask for them.");
        List<(string, object)> keys =
        [
            ("vocab_size", (uint)_config.VocabularySize),
            ("context_length", (uint)Context),
            ("embedding_length", (uint)_config.HiddenSize),
            ("block_count", (uint)_config.LayerCount),
            ("feed_forward_length", (uint)_config.IntermediateSize),
            ("attention.head_count", (uint)_config.HeadCount),
            ("attention.head_count_kv", (uint)_config.KeyValueHeadCount),
            (Name == "gptneox" ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", (float)_config.NormEpsilon),
            ("rope.dimension_count", (uint)_config.RotarySize),
            ("rope.freq_base", (float)_config.RopeTheta),
        ];
        if (_config.HeadSize * _config.HeadCount != _config.HiddenSize || Name == "qwen3")
            keys.AddRange([("attention.key_length", (uint)_config.HeadSize), ("attention.value_length", (uint)_config.HeadSize)]);
        if (Name == "gptneox")
            keys.Add(("use_parallel_residual", _config.ParallelResidual));
        if (Name == "phi3")
            keys.Add(("attention.sliding_window", (uint)(_config.SlidingWindow ?? 0)));
        keys.AddRange(Scaling());
        return keys.Select(k => ($"{Name}.{k.Item1}", k.Item2));
    }

    /// <summary>Tensors that stand for positions: what each frequency is divided by.</summary>
    public IEnumerable<(string Name, double[] Divisors)> Frequencies()
    {
        var scaling = _config.RopeScaling;
        if (scaling.Kind == "llama3")
        {
            var plain = RopeScaling.ComputeFrequencies(_config with { RopeScaling = RopeScalingConfig.None }, _config.MaxPositions).Inverse;
            yield return (
                "rope_freqs.weight",
                [.. plain.Zip(RopeScaling.ComputeFrequencies(_config, _config.MaxPositions).Inverse, (p, s) => p / s)]
            );
        }
        if (scaling.Kind == "longrope")
        {
            yield return ("rope_factors_long.weight", [.. scaling.LongFactors!]);
            yield return ("rope_factors_short.weight", [.. scaling.ShortFactors!]);
        }
    }

    private IEnumerable<(string, object)> Scaling()
    {
        var scaling = _config.RopeScaling;
        var original = (uint)RopeScaling.GetOriginalContext(_config);
        switch (scaling.Kind)
        {
            case "default":
            case "llama3" when Name == "llama":
                return [];
            case "linear":
                return
                [
                    ("rope.scaling.type", "linear"),
                    ("rope.scaling.factor", (float)scaling.Factor),
                    ("rope.scaling.original_context_length", original),
                ];
            case "yarn" when scaling is { AttentionFactor: null, Mscale: null, MscaleAllDim: null, Truncate: null or true }:
                return
                [
                    ("rope.scaling.type", "yarn"),
                    ("rope.scaling.factor", (float)scaling.Factor),
                    ("rope.scaling.original_context_length", original),
                    ("rope.scaling.yarn_beta_fast", (float)(scaling.BetaFast ?? 32)),
                    ("rope.scaling.yarn_beta_slow", (float)(scaling.BetaSlow ?? 1)),
                ];
            case "longrope" when Name is "llama" or "phi3":
                return
                [
                    ("rope.scaling.type", "longrope"),
                    ("rope.scaling.original_context_length", original),
                    (
                        "rope.scaling.attn_factor",
                        (float)RopeScaling.ComputeFrequencies(_config, RopeScaling.GetCurrentContext(_config)).AttentionFactor
                    ),
                ];
            default:
                throw new ConfigurationException(
                    $"RoPE scaling '{scaling.Kind}'{(scaling.Kind == "yarn" ? " with an attention factor of its own" : "")} has no "
                        + $"counterpart in GGUF for {Name}, and engines would compute other numbers. "
                        + "Linear and plain yarn have, llama3 for Llama and Mistral, longrope for these and Phi-3."
                );
        }
    }

    // Rows [H 2 K/2, ..] of two halves -> [H K/2 2, ..] of neighbours.
    private Tensor Interleaved(Tensor value, long heads) => Rows(value, [heads, 2, _config.HeadSize / 2], 1, 2);

    private static Tensor Rows(Tensor value, long[] parts, int first = 0, int second = 1) =>
        value.reshape([.. parts, .. value.shape.Skip(1)]).transpose(first, second).reshape(value.shape);

    [GeneratedRegex(@"^(?:model|gpt_neox)\.layers\.(\d+)\.(.+)$")]
    private static partial Regex LayerName();
}
