using System.Globalization;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads <c>config.json</c> strictly. Every field is either understood, or known to have no influence on the numbers, or text; any other
/// number or switch is an error, because a model with an unknown switch loads well and is silently wrong.
/// </summary>
public static class ModelConfigReader
{
    private const string FileName = "config.json";

    /// <summary>Families whose config is understood.</summary>
    public static IReadOnlyList<string> Families { get; } = ["llama"];

    // Nothing that is computed here depends on these.
    private static readonly HashSet<string> s_harmless =
    [
        "architectures", "torch_dtype", "dtype", "transformers_version", "use_cache", "_name_or_path", "pad_token_id", "auto_map", "model_type",
        "output_attentions", "output_hidden_states", "return_dict", "tokenizer_class", "_attn_implementation", "_flash_attn_2_enabled",
        "max_sequence_length", "unsloth_version", "unsloth_fixed", "_commit_hash", "keys_to_ignore_at_inference", "is_decoder",
    ];

    // Fields that change the numbers unless they have this value.
    private static readonly Dictionary<string, double[]> s_onlyValue = new()
    {
        ["pretraining_tp"] = [1],
        ["attention_dropout"] = [0],
        ["hidden_dropout"] = [0],
        ["partial_rotary_factor"] = [1],
        ["is_encoder_decoder"] = [0],
        ["add_cross_attention"] = [0],
    };

    // What the reader below asks for, whatever the family.
    private static readonly HashSet<string> s_understood =
    [
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
        "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "tie_word_embeddings", "attention_bias",
        "mlp_bias", "hidden_act", "bos_token_id", "eos_token_id", "initializer_range",
    ];

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">It is missing, no JSON, lacks a field, or has one that is not understood.</exception>
    public static ModelConfig ReadFile(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read '{path}': {e.Message}", e);
        }
        return Parse(text, path);
    }

    /// <summary>Reads a text.</summary>
    /// <param name="json">The text of a <c>config.json</c>.</param>
    /// <param name="source">Where it came from, for messages.</param>
    public static ModelConfig Parse(string json, string source = FileName)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json);
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{source} is not valid JSON: {e.Message}", e);
        }
        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{source} is not a JSON object.");
            var fields = new ConfigFields(document.RootElement, source);
            var family = fields.Text("model_type") ?? throw fields.Missing("model_type");
            if (!Families.Contains(family))
                throw new CheckpointException($"{source}: models of type '{family}' are not supported; the supported types are {string.Join(", ", Families)}.");
            CheckUnknown(fields);
            return Read(fields, family);
        }
    }

    private static ModelConfig Read(ConfigFields fields, string family)
    {
        int hidden = fields.Positive("hidden_size"), heads = fields.Positive("num_attention_heads");
        var shared = fields.Has("num_key_value_heads") ? fields.Positive("num_key_value_heads") : heads;
        if (heads % shared != 0)
            throw fields.Wrong("num_key_value_heads", $"must divide num_attention_heads, {heads}");
        var headSize = fields.Has("head_dim") ? fields.Positive("head_dim") : hidden / heads;
        if (!fields.Has("head_dim") && hidden % heads != 0)
            throw fields.Wrong("hidden_size", $"must be a multiple of num_attention_heads, {heads}, where there is no head_dim");
        if (headSize % 2 != 0)
            throw fields.Wrong("head_dim", $"is {headSize}; rotary positions need an even head size");
        var activation = fields.Text("hidden_act") ?? "silu";
        if (activation is not ("silu" or "swish"))
            throw fields.Wrong("hidden_act", "must be silu for this family");
        var (theta, scaling) = RopeConfigReader.Read(fields, headSize);
        return new ModelConfig
        {
            ModelType = family,
            HiddenSize = hidden,
            IntermediateSize = fields.Positive("intermediate_size"),
            LayerCount = fields.Positive("num_hidden_layers"),
            HeadCount = heads,
            KeyValueHeadCount = shared,
            HeadSize = headSize,
            VocabularySize = fields.Positive("vocab_size"),
            MaxPositions = fields.Has("max_position_embeddings") ? fields.Positive("max_position_embeddings") : 2048,
            NormEpsilon = fields.Number("rms_norm_eps") ?? 1e-6,
            RopeTheta = theta,
            RopeScaling = scaling,
            TiedEmbeddings = fields.Switch("tie_word_embeddings") ?? false,
            AttentionBias = fields.Switch("attention_bias") ?? false,
            MlpBias = fields.Switch("mlp_bias") ?? false,
            Activation = activation,
            BosTokenId = fields.TokenIds("bos_token_id") is [var bos, ..] ? bos : null,
            EosTokenIds = fields.TokenIds("eos_token_id"),
            InitializerRange = fields.Number("initializer_range") ?? 0.02,
        };
    }

    private static void CheckUnknown(ConfigFields fields)
    {
        foreach (var field in fields.All)
        {
            if (s_understood.Contains(field.Name) || s_harmless.Contains(field.Name) || field.Value.ValueKind is JsonValueKind.Null or JsonValueKind.String)
                continue;
            if (s_onlyValue.TryGetValue(field.Name, out var allowed))
            {
                var value = field.Value.ValueKind switch
                {
                    JsonValueKind.Number => field.Value.GetDouble(),
                    JsonValueKind.True => 1,
                    JsonValueKind.False => 0,
                    _ => double.NaN,
                };
                if (!allowed.Contains(value))
                    throw fields.Wrong(field.Name, $"is not supported; only {string.Join(" or ", allowed.Select(x => x.ToString(CultureInfo.InvariantCulture)))} is");
                continue;
            }
            throw new CheckpointException($"{fields.Source}: the field '{field.Name}' with the value {field.Value.GetRawText()} is not known, and may change what the "
                + $"model computes.{NearestName.Hint(field.Name, s_understood)} If it has no influence, remove it from the file.");
        }
    }
}

/// <summary>Reads the rotary part, in the spelling of every transformers version.</summary>
internal static class RopeConfigReader
{
    private static readonly Dictionary<string, string[]> s_parameters = new()
    {
        ["default"] = [],
        ["linear"] = ["factor", "original_max_position_embeddings"],
        ["dynamic"] = ["factor", "original_max_position_embeddings"],
        ["yarn"] = ["factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "finetuned"],
        ["llama3"] = ["factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
        ["longrope"] = ["factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"],
    };

    private static readonly Dictionary<string, string[]> s_required = new()
    {
        ["default"] = [],
        ["linear"] = ["factor"],
        ["dynamic"] = ["factor"],
        ["yarn"] = ["factor"],
        ["llama3"] = ["factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
        ["longrope"] = ["short_factor", "long_factor"],
    };

    internal static (double Theta, RopeScalingConfig Scaling) Read(ConfigFields fields, int headSize)
    {
        var theta = fields.Number("rope_theta") ?? 10000;
        var rope = fields.Object("rope_parameters") ?? fields.Object("rope_scaling");
        // Phi-3's and others' original context stands beside the scaling.
        if (rope is null)
            return (theta, RopeScalingConfig.None);
        theta = rope.Number("rope_theta") ?? theta;
        var kind = rope.Text("rope_type") ?? rope.Text("type") ?? throw rope.Missing("rope_type");
        if (kind is "su")
            kind = "longrope";
        if (!s_parameters.TryGetValue(kind, out var known))
            throw rope.Wrong("rope_type", $"is not supported; the supported kinds are {string.Join(", ", s_parameters.Keys)}");
        foreach (var field in rope.All)
        {
            if (field.Name is not ("rope_type" or "type" or "rope_theta") && !known.Contains(field.Name) && field.Value.ValueKind != JsonValueKind.Null)
                throw new CheckpointException($"{rope.Source}: '{field.Name}' is no parameter of RoPE scaling '{kind}'.{NearestName.Hint(field.Name, known)}");
        }
        foreach (var name in s_required[kind])
        {
            if (!rope.Has(name))
                throw rope.Missing(name);
        }
        var scaling = new RopeScalingConfig
        {
            Kind = kind,
            Factor = rope.Number("factor") ?? 1,
            OriginalMaxPositions = rope.Has("original_max_position_embeddings") ? rope.Positive("original_max_position_embeddings") : null,
            AttentionFactor = rope.Number("attention_factor"),
            BetaFast = rope.Number("beta_fast"),
            BetaSlow = rope.Number("beta_slow"),
            Mscale = rope.Number("mscale"),
            MscaleAllDim = rope.Number("mscale_all_dim"),
            Truncate = rope.Switch("truncate"),
            LowFrequencyFactor = rope.Number("low_freq_factor"),
            HighFrequencyFactor = rope.Number("high_freq_factor"),
            ShortFactors = rope.Numbers("short_factor", headSize / 2),
            LongFactors = rope.Numbers("long_factor", headSize / 2),
        };
        if (scaling.Factor < 1)
            throw rope.Wrong("factor", "must be at least 1");
        return (theta, scaling);
    }
}

/// <summary>Typed access to the fields of a JSON object, with messages that name file, field and value.</summary>
internal sealed class ConfigFields(JsonElement json, string source)
{
    internal string Source { get; } = source;

    internal IEnumerable<JsonProperty> All => json.EnumerateObject();

    internal bool Has(string name) => Find(name) is not null;

    internal string? Text(string name) => Find(name) is { } value
        ? value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(name, "must be a text")
        : null;

    internal double? Number(string name) => Find(name) is { } value
        ? value.ValueKind == JsonValueKind.Number ? value.GetDouble() : throw Wrong(name, "must be a number")
        : null;

    internal bool? Switch(string name) => Find(name) is { } value
        ? value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(name, "must be true or false")
        : null;

    internal int Positive(string name)
    {
        var value = Find(name) ?? throw Missing(name);
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number is >= 1 and <= int.MaxValue && number == Math.Floor(number)
            ? (int)number
            : throw Wrong(name, "must be a whole number above 0");
    }

    internal ConfigFields? Object(string name) => Find(name) is { } value
        ? value.ValueKind == JsonValueKind.Object ? new ConfigFields(value, $"{Source}: {name}") : throw Wrong(name, "must be an object")
        : null;

    internal IReadOnlyList<double>? Numbers(string name, int count)
    {
        if (Find(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != count || value.EnumerateArray().Any(x => x.ValueKind != JsonValueKind.Number))
            throw Wrong(name, $"must be a list of {count} numbers, half the head size");
        return [.. value.EnumerateArray().Select(x => x.GetDouble())];
    }

    internal IReadOnlyList<int> TokenIds(string name)
    {
        if (Find(name) is not { } value)
            return [];
        var list = value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().ToList() : [value];
        return [.. list.Select(x => x.ValueKind == JsonValueKind.Number && x.TryGetInt32(out var id) && id >= 0 ? id : throw Wrong(name, "must be a token id or a list of them"))];
    }

    internal CheckpointException Missing(string name) => new($"{Source}: the field '{name}' is missing.");

    internal CheckpointException Wrong(string name, string what) => new($"{Source}: '{name}' {(Find(name) is { } value ? $"({value.GetRawText()}) " : "")}{what}.");

    private JsonElement? Find(string name) => json.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
