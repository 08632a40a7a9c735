using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// How a model is written as GGUF: its metadata, and its tensors with their names and layouts.
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
    /// The context that engines are told. Where they compute full attention in spite of a sliding window, only as far as it reaches are
    /// their numbers the model's.
    /// </summary>
    private int Context =>
        Math.Min(
            RopeScaling.GetCurrentContext(_config),
            _layout.HasWindows ? int.MaxValue : Enumerable.Range(0, _config.LayerCount).Min(i => _config.GetWindow(i) ?? int.MaxValue)
        );

    /// <summary>The name of a tensor, such as <c>blk.0.attn_q.weight</c> for <c>model.layers.0.self_attn.q_proj.weight</c>.</summary>
    /// <exception cref="ConfigurationException">The file has no place for it, or only as a part of another tensor.</exception>
    public string TensorName(string name) =>
        _layout.ToFile(name) is [{ Part: { IsPlain: true, IsStacked: false } } place]
            ? place.Stored
            : throw new ConfigurationException(
                $"'{name}' has no place of its own in a GGUF file of the architecture '{Name}'. Export the merged model."
            );

    /// <summary>
    /// The rows of a tensor, a matrix or a bias of outputs, in the architecture's order; the tensor itself where that is Hugging Face's.
    /// </summary>
    public Tensor Arranged(string name, Tensor value) => Order(value, 0, _layout.ToFile(name)[0].Part.Rows);

    /// <summary>The tensors of a file, in the order in which a model has them. Their type is still to be chosen.</summary>
    /// <param name="tensors">The model's.</param>
    /// <exception cref="ConfigurationException">The architecture has no place for one.</exception>
    public IEnumerable<GgufTensor> Tensors(IReadOnlyList<TensorToWrite> tensors)
    {
        var stacks = new Dictionary<string, List<(int Expert, TensorToWrite Tensor)>>(StringComparer.Ordinal);
        var all = tensors.Where(t => !IsNumber(t.Name)).Select(tensor => (Tensor: tensor, Places: _layout.ToFile(tensor.Name))).ToList();
        if (all.Find(t => t.Places.Count == 0) is { Tensor: { } unknown })
            throw new ConfigurationException(
                $"'{unknown.Name}' has no place in a GGUF file of the architecture '{Name}', so engines could not compute the model."
            );
        foreach (var (tensor, place) in all.SelectMany(t => t.Places.Where(p => p.Expert is not null).Select(p => (t.Tensor, p))))
        {
            if (!stacks.TryGetValue(place.Stored, out var stack))
                stacks[place.Stored] = stack = [];
            stack.Add((place.Expert!.Value, tensor));
        }
        foreach (var (tensor, places) in all)
        {
            foreach (var place in places)
            {
                if (place.Expert is null)
                    yield return new(new(place.Stored, GgufType.F32, StoredShape(place.Part, tensor.Shape)), () =>
                        Stored(place.Part, tensor)
                    );
                else if (stacks.Remove(place.Stored, out var stack))
                    yield return new(new(place.Stored, GgufType.F32, [stack.Count, .. tensor.Shape]), () =>
                        Stacked([.. stack.OrderBy(s => s.Expert).Select(s => s.Tensor)])
                    );
            }
        }
    }

    private bool IsNumber(string name) => _layout.Numbers.Any(n => name.EndsWith("." + n.Name, StringComparison.Ordinal));

    private static IReadOnlyList<long> StoredShape(GgufPart part, IReadOnlyList<long> shape)
    {
        if (part.View is null)
            return shape;
        using var scope = NewDisposeScope();
        return part.View(zeros(1).expand([.. shape])).shape;
    }

    private Tensor Stored(GgufPart part, TensorToWrite tensor)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var value = tensor.Value().to(ScalarType.Float32, copy: true);
        value = Order(part.View?.Invoke(value) ?? value, 0, part.Rows);
        value = Order(value, 1, part.Columns);
        return (part.Values?.ToFile(value) ?? value).contiguous().MoveToOuterDisposeScope();
    }

    private static Tensor Stacked(IReadOnlyList<TensorToWrite> tensors)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var result = empty([tensors.Count, .. tensors[0].Shape], ScalarType.Float32);
        for (var i = 0; i < tensors.Count; i++)
        {
            using var own = tensors[i].Value();
            result.select(0, i).copy_(own);
        }
        return result.MoveToOuterDisposeScope();
    }

    private Tensor Order(Tensor value, int dimension, Func<ModelConfig, int[]>? order)
    {
        if (order?.Invoke(_config) is not { } places)
            return value;
        var from = new long[places.Length];
        for (var i = 0; i < places.Length; i++)
            from[places[i]] = i;
        return value.index_select(dimension, tensor(from, device: value.device));
    }

    /// <summary>The metadata with the architecture's prefix.</summary>
    /// <exception cref="ConfigurationException">GGUF cannot store the model's positions, or requires biases that it lacks.</exception>
    public IEnumerable<(string Key, object Value)> Keys()
    {
        if (Name == "gptneox" && !_config.AttentionBias)
            throw new ConfigurationException(
                "Cannot write this GPT-NeoX model as GGUF because it has no attention biases, and engines require them."
            );
        var keys = new OrderedDictionary<string, object>
        {
            ["vocab_size"] = (uint)_config.VocabularySize,
            ["context_length"] = (uint)Context,
            ["embedding_length"] = (uint)_config.HiddenSize,
            ["block_count"] = (uint)_config.LayerCount,
            ["feed_forward_length"] = (uint)_config.IntermediateSize,
            ["attention.head_count"] = (uint)_config.HeadCount,
            ["attention.head_count_kv"] = (uint)_config.KeyValueHeadCount,
            ["attention.key_length"] = (uint)_config.HeadSize,
            ["attention.value_length"] = (uint)_config.HeadSize,
            [_layout.HasLayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"] = (float)_config.NormEpsilon,
            ["rope.dimension_count"] = (uint)_config.RotarySize,
            ["rope.freq_base"] = (float)RopeScaling.GetBase(_config),
        };
        foreach (var (name, value) in Scaling().Concat(_layout.Traits.SelectMany(trait => trait.Write(_config))))
            keys[name] = value;
        return keys.Select(k => ($"{Name}.{k.Key}", k.Value));
    }

    /// <summary>Numbers of layers that are tensors in the model and keys in the file.</summary>
    public IEnumerable<(string Key, object Value)> Numbers(IReadOnlyList<TensorToWrite> tensors)
    {
        foreach (var (inner, key, _) in _layout.Numbers)
        {
            var numbers = new float[_config.LayerCount];
            for (var layer = 0; layer < numbers.Length; layer++)
            {
                var name = $"{_layout.LayerPrefix}{layer}.{inner}";
                using var value = tensors.First(t => t.Name == name).Value();
                numbers[layer] = value.to(ScalarType.Float32).item<float>();
            }
            yield return (key, numbers);
        }
    }

    /// <summary>Checks that a file with these keys and tensors is read as the model.</summary>
    /// <exception cref="ConfigurationException">Engines would compute other numbers.</exception>
    public void RequireSame(string path, IEnumerable<(string Key, object Value)> keys, IReadOnlyList<GgufTensor> tensors)
    {
        var contents = new GgufContents(
            path,
            keys.ToDictionary(k => k.Key, k => k.Value, StringComparer.Ordinal),
            tensors.ToDictionary(t => t.Info.Name, t => t.Info, StringComparer.Ordinal),
            name =>
            {
                using var value = tensors.First(t => t.Info.Name == name).Value();
                return value.data<float>().ToArray();
            }
        );
        if (GgufSameness.FindDifference(_config, GgufConfig.Read(contents).Config) is { } difference)
            throw new ConfigurationException(
                $"Cannot export this model of type '{_config.ModelType}' as GGUF because {difference}: files of the architecture '{Name}' "
                    + "cannot say it."
            );
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
        if (scaling.Kind == RopeScaling.Proportional)
        {
            var inverse = RopeScaling.ComputeFrequencies(_config, _config.MaxPositions).Inverse;
            yield return ("rope_freqs.weight", [.. inverse.Select(f => f == 0 ? GgufRope.Still : 1)]);
        }
        if (scaling.Kind == "longrope")
        {
            yield return ("rope_factors_long.weight", [.. scaling.LongFactors!]);
            yield return ("rope_factors_short.weight", [.. scaling.ShortFactors!]);
        }
    }

    // Beside the one of YaRN's formula.
    private (string, object)[] AttentionFactor() =>
        _config.RopeScaling is { AttentionFactor: { } own, Factor: var factor } && Math.Abs(own / (1 + 0.1 * Math.Log(factor)) - 1) > 1e-7
            ? [("rope.scaling.attn_factor", (float)(own / (1 + 0.1 * Math.Log(factor))))]
            : [];

    private IEnumerable<(string, object)> Scaling()
    {
        var scaling = _config.RopeScaling;
        var original = (uint)RopeScaling.GetOriginalContext(_config);
        switch (scaling.Kind)
        {
            case "default":
            case "llama3" when _layout.HasDivisors:
            case "dynamic" when scaling.Alpha is not null: // in the base
            case RopeScaling.Proportional when _layout.HasUnlikeLayers && scaling.Factor == 1:
                return [];
            case "linear":
                return
                [
                    ("rope.scaling.type", "linear"),
                    ("rope.scaling.factor", (float)scaling.Factor),
                    ("rope.scaling.original_context_length", original),
                ];
            case "yarn"
                when (_layout.HasLogMultiplier || scaling.MscaleAllDim is null)
                    && (_layout.HasYarnRange || scaling is { BetaFast: null or 32, BetaSlow: null or 1 })
                    && (scaling.Truncate is not false || Name == "gpt-oss"):
                return
                [
                    .. AttentionFactor(),
                    ("rope.scaling.type", "yarn"),
                    ("rope.scaling.factor", (float)scaling.Factor),
                    ("rope.scaling.original_context_length", original),
                    ("rope.scaling.yarn_beta_fast", (float)(scaling.BetaFast ?? 32)),
                    ("rope.scaling.yarn_beta_slow", (float)(scaling.BetaSlow ?? 1)),
                ];
            case "longrope" when _layout.HasLongRope:
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
                    $"Cannot write RoPE scaling '{scaling.Kind}'{(scaling.Kind == "yarn" ? " with these parameters" : "")} "
                        + $"as GGUF for {Name} because the format has no equivalent. GGUF supports linear and plain yarn; llama3 for "
                        + "Llama and Mistral; longrope for Llama, Mistral and Phi-3."
                );
        }
    }
}
