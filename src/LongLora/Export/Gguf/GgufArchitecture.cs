using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// How a model is written as GGUF: its metadata, and the names and row orders of its tensors.
/// </summary>
/// <remarks>Keys as ggml's GGUF documentation and gguf-py's constants list them.</remarks>
internal sealed class GgufArchitecture
{
    private readonly ModelConfig _config;
    private readonly GgufLayout _layout;

    private GgufArchitecture(ModelConfig config, GgufLayout layout) => (_config, _layout) = (config, layout);

    /// <summary><c>general.architecture</c>.</summary>
    public string Name => _layout.Architecture;

    /// <summary>The architecture of a model.</summary>
    /// <exception cref="ConfigurationException">GGUF has no architecture for the family, or cannot store its positions.</exception>
    public static GgufArchitecture Of(ModelConfig config) =>
        new(
            config,
            GgufLayout.OfFamily(config.ModelType)
                ?? throw new ConfigurationException(
                    $"Cannot write a model of type '{config.ModelType}' as GGUF. The supported types are "
                        + $"{string.Join(", ", GgufLayout.Families)}."
                )
        );

    /// <summary>
    /// The context for engines. They compute full attention in these architectures, so with a sliding window their numbers are right only
    /// up to the window.
    /// </summary>
    private int Context =>
        Math.Min(
            RopeScaling.GetCurrentContext(_config),
            _config.SlidingWindow is { } window && _config.FirstWindowedLayer < _config.LayerCount ? window : int.MaxValue
        );

    /// <summary>The name of a tensor, such as <c>blk.0.attn_q.weight</c> for <c>model.layers.0.self_attn.q_proj.weight</c>.</summary>
    public string TensorName(string name) => _layout.ToFile(name);

    /// <summary>
    /// A matrix or bias with its rows in the architecture's order; the tensor itself if that is Hugging Face's order.
    /// </summary>
    public Tensor Arranged(string name, Tensor value)
    {
        if (_layout.RowsInFile(name, _config) is not { } rows)
            return value;
        var from = new long[rows.Length];
        for (var row = 0; row < rows.Length; row++)
            from[rows[row]] = row;
        return value.index_select(0, tensor(from, device: value.device));
    }

    /// <summary>The metadata with the architecture's prefix.</summary>
    /// <exception cref="ConfigurationException">GGUF cannot store the model's positions, or requires biases that it lacks.</exception>
    public IEnumerable<(string Key, object Value)> Keys()
    {
        if (Name == "gptneox" && !_config.AttentionBias)
            throw new ConfigurationException(
                "Cannot write this GPT-NeoX model as GGUF because it has no attention biases, and engines require them."
            );
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

    /// <summary>Tensors with the divisors of the RoPE frequencies.</summary>
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
                    $"Cannot write RoPE scaling '{scaling.Kind}'{(scaling.Kind == "yarn" ? " with its own attention factor" : "")} "
                        + $"as GGUF for {Name} because the format has no equivalent. GGUF supports linear and plain yarn; llama3 for "
                        + "Llama and Mistral; longrope for Llama, Mistral and Phi-3."
                );
        }
    }
}
