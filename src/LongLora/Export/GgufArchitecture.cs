using System.Text.RegularExpressions;
using LongLora.Checkpoints;
using LongLora.Positions;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Export;

// O outputs, I inputs, H heads, K head size

/// <summary>How one model family is written down in GGUF: the name of its architecture, its metadata, the names and the layout of its tensors.</summary>
/// <remarks>
/// Names and keys as ggml's GGUF documentation and gguf-py's constants list them. The llama architecture turns neighbouring numbers of a head, where Hugging Face
/// turns the first half with the second, so rows of q and k change places.
/// </remarks>
internal sealed partial class GgufArchitecture
{
    private static readonly Dictionary<string, string> s_outer = new(StringComparer.Ordinal)
    {
        ["model.embed_tokens"] = "token_embd",
        ["model.norm"] = "output_norm",
        ["lm_head"] = "output",
    };

    private static readonly Dictionary<string, string> s_inner = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        ["self_attn.o_proj"] = "attn_output",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    private readonly ModelConfig _config;

    private GgufArchitecture(ModelConfig config, string name) => (_config, Name) = (config, name);

    /// <summary><c>general.architecture</c>.</summary>
    public string Name { get; }

    /// <summary>The architecture of a model.</summary>
    /// <exception cref="ConfigurationException">GGUF has none for the family, or none for its positions.</exception>
    public static GgufArchitecture Of(ModelConfig config) => new(config, config.ModelType switch
    {
        "llama" => "llama",
        _ => throw new ConfigurationException($"Models of type '{config.ModelType}' cannot be written as GGUF; llama can."),
    });

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

    /// <summary>The rows of a tensor, a matrix or a bias of outputs, in the architecture's order; the tensor itself where that is Hugging Face's.</summary>
    public Tensor Arranged(string name, Tensor value)
    {
        var module = name[..name.LastIndexOf('.')];
        if (Name == "llama" && module.EndsWith(".q_proj", StringComparison.Ordinal))
            return Interleaved(value, _config.HeadCount);
        if (Name == "llama" && module.EndsWith(".k_proj", StringComparison.Ordinal))
            return Interleaved(value, _config.KeyValueHeadCount);
        return value;
    }

    /// <summary>The metadata under the architecture's own name.</summary>
    public IEnumerable<(string Key, object Value)> Keys()
    {
        List<(string, object)> keys =
        [
            ("vocab_size", (uint)_config.VocabularySize),
            ("context_length", (uint)RopeScaling.CurrentContext(_config)),
            ("embedding_length", (uint)_config.HiddenSize),
            ("block_count", (uint)_config.LayerCount),
            ("feed_forward_length", (uint)_config.IntermediateSize),
            ("attention.head_count", (uint)_config.HeadCount),
            ("attention.head_count_kv", (uint)_config.KeyValueHeadCount),
            ("attention.layer_norm_rms_epsilon", (float)_config.NormEpsilon),
            ("rope.dimension_count", (uint)_config.HeadSize),
            ("rope.freq_base", (float)_config.RopeTheta),
        ];
        if (_config.HeadSize * _config.HeadCount != _config.HiddenSize)
            keys.AddRange([("attention.key_length", (uint)_config.HeadSize), ("attention.value_length", (uint)_config.HeadSize)]);
        keys.AddRange(Scaling());
        return keys.Select(k => ($"{Name}.{k.Item1}", k.Item2));
    }

    /// <summary>Tensors that stand for positions: what each frequency is divided by.</summary>
    public IEnumerable<(string Name, double[] Divisors)> Frequencies()
    {
        var scaling = _config.RopeScaling;
        if (scaling.Kind == "llama3")
        {
            var plain = RopeScaling.Frequencies(_config with { RopeScaling = RopeScalingConfig.None }, _config.MaxPositions).Inverse;
            yield return ("rope_freqs.weight", [.. plain.Zip(RopeScaling.Frequencies(_config, _config.MaxPositions).Inverse, (p, s) => p / s)]);
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
        var original = (uint)RopeScaling.OriginalContext(_config);
        switch (scaling.Kind)
        {
            case "default" or "llama3":
                return [];
            case "linear":
                return [("rope.scaling.type", "linear"), ("rope.scaling.factor", (float)scaling.Factor), ("rope.scaling.original_context_length", original)];
            case "yarn" when scaling is { AttentionFactor: null, Mscale: null, MscaleAllDim: null, Truncate: null or true }:
                return
                [
                    ("rope.scaling.type", "yarn"), ("rope.scaling.factor", (float)scaling.Factor), ("rope.scaling.original_context_length", original),
                    ("rope.scaling.yarn_beta_fast", (float)(scaling.BetaFast ?? 32)), ("rope.scaling.yarn_beta_slow", (float)(scaling.BetaSlow ?? 1)),
                ];
            case "longrope":
                return [("rope.scaling.original_context_length", original), ("rope.scaling.attn_factor", (float)RopeScaling.Frequencies(_config, RopeScaling.CurrentContext(_config)).AttentionFactor)];
            default:
                throw new ConfigurationException($"RoPE scaling '{scaling.Kind}'{(scaling.Kind == "yarn" ? " with an attention factor of its own" : "")} has no counterpart in GGUF, and engines would compute other numbers. "
                    + "Linear, plain yarn, llama3 and longrope have.");
        }
    }

    // Rows [H 2 K/2, ..] of two halves -> [H K/2 2, ..] of neighbours.
    private Tensor Interleaved(Tensor value, long heads) =>
        value.reshape([heads, 2, _config.HeadSize / 2, .. value.shape.Skip(1)]).transpose(1, 2).reshape(value.shape);

    [GeneratedRegex(@"^model\.layers\.(\d+)\.(.+)$")]
    private static partial Regex LayerName();
}
