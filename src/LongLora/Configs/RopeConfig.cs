using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The rotary fields of a config: <c>rope_theta</c> with <c>rope_scaling</c>, or both in one <c>rope_parameters</c> (transformers 5). The
/// parameters of each kind are those of transformers' <c>modeling_rope_utils</c>. A missing parameter is an error, and so is one that the
/// kind does not have.
/// </summary>
internal static class RopeConfig
{
    private static readonly string[] s_kinds = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

    /// <summary>Name of the field for the base of the frequencies outside of <c>rope_parameters</c>.</summary>
    private static string GetThetaName(string modelType) => modelType == GptNeoXConfig.ModelType ? "rotary_emb_base" : "rope_theta";

    /// <summary>Reads the rotary fields of a model into its config.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="config">What is known about the model so far; its head size is needed.</param>
    /// <param name="partialName">Name of the field for the share of each head that is rotated.</param>
    /// <param name="partial">The share if the file does not give it; null if the family always rotates whole heads.</param>
    public static ModelConfig Read(
        ConfigFields fields,
        ModelConfig config,
        string partialName = "partial_rotary_factor",
        double? partial = null
    )
    {
        var (theta, scaling, inner) = (
            fields.ReadPositiveOrNull(GetThetaName(config.ModelType)),
            fields.ReadObjectOrNull("rope_scaling"),
            fields.ReadObjectOrNull("rope_parameters")
        );
        fields.Require(scaling is null || inner is null, "rope_scaling", "the file also has rope_parameters; remove one of the two");
        var rope = scaling ?? inner;
        var size = ReadRotarySize(fields, rope, config.HeadSize, partialName, partial);
        var (readTheta, readScaling) = Read(fields, rope, theta, config.ModelType, optionalKind: inner is not null, size);
        return config with { RopeTheta = readTheta, RopeScaling = readScaling, RotarySize = size == config.HeadSize ? 0 : size };
    }

    private static int ReadRotarySize(ConfigFields fields, ConfigFields? rope, int headSize, string name, double? absent)
    {
        const string within = "partial_rotary_factor";
        if (absent is null)
        {
            fields.RequireFixed(name, 1, "the family rotates whole heads");
            rope?.RequireFixed(within, 1, "the family rotates whole heads");
            return headSize;
        }
        var (outer, inner) = (fields.ReadPositiveOrNull(name), rope?.ReadPositiveOrNull(within));
        rope?.Require(outer is null || inner is null || outer == inner, within, $"it must equal {name} outside, which is {outer}");
        var size = (int)(headSize * (inner ?? outer ?? absent.Value));
        fields.Require(
            size >= 2 && size <= headSize && size % 2 == 0,
            name,
            $"it rotates {size} of a head's {headSize} numbers; that must be even, at least 2 and at most {headSize}"
        );
        return size;
    }

    private static (double Theta, RopeScalingConfig Scaling) Read(
        ConfigFields fields,
        ConfigFields? rope,
        double? theta,
        string modelType,
        bool optionalKind,
        int headSize
    )
    {
        var original = fields.ReadIntegerOrNull("original_max_position_embeddings");
        if (rope is null)
            return (theta ?? 10000, original is null ? RopeScalingConfig.None : new RopeScalingConfig { OriginalMaxPositions = original });

        var kind = ReadKind(rope, optionalKind);
        var innerTheta = rope.ReadPositiveOrNull("rope_theta");
        rope.Require(
            theta is null || innerTheta is null || theta == innerTheta,
            "rope_theta",
            $"it must equal {GetThetaName(modelType)} outside, which is {theta}"
        );
        var innerOriginal = rope.ReadIntegerOrNull("original_max_position_embeddings");
        rope.Require(
            original is null || innerOriginal is null || original == innerOriginal,
            "original_max_position_embeddings",
            $"it must equal original_max_position_embeddings outside, which is {original}"
        );
        var read = ReadParameters(rope, kind, headSize) with { OriginalMaxPositions = innerOriginal ?? original };
        rope.Require(kind != "llama3" || read.OriginalMaxPositions is not null, "original_max_position_embeddings", "llama3 requires it");
        rope.RefuseOthers($"'{kind}' scaling");
        return (innerTheta ?? theta ?? 10000, read);
    }

    /// <summary>Writes theta and scaling into a config, in the style that the config already has.</summary>
    public static void Write(JsonObject root, ModelConfig config)
    {
        var scaling = config.RopeScaling;
        var inner = DescribeParameters(scaling);
        // Kinds with one parameter have their original context outside: transformers before 4.43 accepts exactly two fields in
        // rope_scaling.
        var single = scaling.Kind is "default" or "linear" or "dynamic";
        // Before transformers 5, Phi-3's config class accepts exactly three fields there (type and the two lists).
        var isOutside = single || config.ModelType == Phi3Config.ModelType;
        // For LongRoPE, transformers before 5 looks for it outside, whatever the family. Without it a long text would get the angles of a
        // short one.
        if (isOutside || scaling.Kind == "longrope" || root.ContainsKey("original_max_position_embeddings"))
            SetOrRemove(root, "original_max_position_embeddings", scaling.OriginalMaxPositions);
        if (!isOutside)
            inner["original_max_position_embeddings"] = scaling.OriginalMaxPositions;
        Drop(inner);

        if (root["rope_parameters"] is JsonObject)
        {
            inner.Insert(0, "rope_theta", CommonConfig.ToJsonNumber(config.RopeTheta));
            inner.Insert(1, "rope_type", scaling.Kind);
            if (config.RotarySize != config.HeadSize)
                inner.Insert(2, "partial_rotary_factor", CommonConfig.ToJsonNumber((double)config.RotarySize / config.HeadSize));
            root["rope_parameters"] = inner;
            return;
        }
        root[GetThetaName(config.ModelType)] = CommonConfig.ToJsonNumber(config.RopeTheta);
        if (!isOutside || root["rope_scaling"] is JsonObject old && old.ContainsKey("rope_type"))
            inner.Insert(0, "rope_type", scaling.Kind);
        inner.Insert(0, "type", scaling.Kind);
        root["rope_scaling"] = scaling.Kind == "default" ? null : inner;
    }

    private static string ReadKind(ConfigFields rope, bool optional)
    {
        var kind = rope.ReadTextOrNull("rope_type");
        var formerly = rope.ReadTextOrNull("type");
        rope.Require(
            kind is null || formerly is null || ModernizeName(kind) == ModernizeName(formerly),
            "type",
            $"it must equal " + $"rope_type, which is '{kind}'"
        );
        rope.Require(optional || kind is not null || formerly is not null, "rope_type", $"it must be one of {string.Join(", ", s_kinds)}");
        var found = ModernizeName(kind ?? formerly ?? "default");
        rope.Require(s_kinds.Contains(found), kind is null ? "type" : "rope_type", $"supported: {string.Join(", ", s_kinds)}");
        return found;
    }

    private static string ModernizeName(string kind) => kind == "su" ? "longrope" : kind;

    private static RopeScalingConfig ReadParameters(ConfigFields rope, string kind, int headSize)
    {
        var scaling = new RopeScalingConfig { Kind = kind };
        switch (kind)
        {
            case "linear" or "dynamic":
                return scaling with { Factor = rope.ReadNumber("factor", 1) };
            case "yarn":
                scaling = scaling with
                {
                    Factor = rope.ReadNumber("factor", 1),
                    AttentionFactor = rope.ReadPositiveOrNull("attention_factor"),
                    BetaFast = rope.ReadPositiveOrNull("beta_fast"),
                    BetaSlow = rope.ReadPositiveOrNull("beta_slow"),
                    // transformers treats 0 as absent.
                    Mscale = rope.ReadNumberOrNull("mscale", 0) is > 0 and var scale ? scale : null,
                    MscaleAllDim = rope.ReadNumberOrNull("mscale_all_dim", 0) is > 0 and var all ? all : null,
                    Truncate = rope.ReadFlagOrNull("truncate"),
                };
                rope.Require((scaling.BetaFast ?? 32) > (scaling.BetaSlow ?? 1), "beta_fast", "it must be above beta_slow");
                return scaling;
            case "llama3":
                scaling = scaling with
                {
                    Factor = rope.ReadNumber("factor", 1),
                    LowFrequencyFactor = rope.ReadNumber("low_freq_factor", double.Epsilon),
                    HighFrequencyFactor = rope.ReadNumber("high_freq_factor", double.Epsilon),
                };
                rope.Require(
                    scaling.HighFrequencyFactor > scaling.LowFrequencyFactor,
                    "high_freq_factor",
                    "it must be above low_freq_factor"
                );
                return scaling;
            case "longrope":
                scaling = scaling with
                {
                    Factor = rope.ReadNumberOrNull("factor", 1) ?? 1,
                    AttentionFactor = rope.ReadPositiveOrNull("attention_factor"),
                    ShortFactors = rope.ReadNumbersOrNull("short_factor", headSize / 2),
                    LongFactors = rope.ReadNumbersOrNull("long_factor", headSize / 2),
                };
                rope.Require(scaling.ShortFactors is not null, "short_factor", $"longrope requires a list of {headSize / 2} numbers");
                rope.Require(scaling.LongFactors is not null, "long_factor", $"longrope requires a list of {headSize / 2} numbers");
                return scaling;
            default:
                return scaling;
        }
    }

    // Every parameter that the kind can have; null if it is left out.
    private static JsonObject DescribeParameters(RopeScalingConfig scaling) =>
        scaling.Kind switch
        {
            "default" => [],
            "linear" or "dynamic" => new() { ["factor"] = CommonConfig.ToJsonNumber(scaling.Factor) },
            "yarn" => new()
            {
                ["factor"] = CommonConfig.ToJsonNumber(scaling.Factor),
                ["attention_factor"] = ToJsonNumber(scaling.AttentionFactor),
                ["beta_fast"] = ToJsonNumber(scaling.BetaFast),
                ["beta_slow"] = ToJsonNumber(scaling.BetaSlow),
                ["mscale"] = ToJsonNumber(scaling.Mscale),
                ["mscale_all_dim"] = ToJsonNumber(scaling.MscaleAllDim),
                ["truncate"] = scaling.Truncate,
            },
            "llama3" => new()
            {
                ["factor"] = CommonConfig.ToJsonNumber(scaling.Factor),
                ["low_freq_factor"] = ToJsonNumber(scaling.LowFrequencyFactor),
                ["high_freq_factor"] = ToJsonNumber(scaling.HighFrequencyFactor),
            },
            "longrope" => new()
            {
                ["factor"] = scaling.Factor > 1 ? CommonConfig.ToJsonNumber(scaling.Factor) : null,
                ["attention_factor"] = ToJsonNumber(scaling.AttentionFactor),
                ["short_factor"] = ToJsonList(scaling.ShortFactors),
                ["long_factor"] = ToJsonList(scaling.LongFactors),
            },
            _ => throw new Runtime.ConfigurationException(
                $"Cannot write RoPE scaling '{scaling.Kind}'. The supported kinds are {string.Join(", ", s_kinds)}."
            ),
        };

    private static JsonNode? ToJsonNumber(double? number) => number is { } value ? CommonConfig.ToJsonNumber(value) : null;

    private static JsonArray? ToJsonList(IReadOnlyList<double>? numbers) =>
        numbers is null ? null : new([.. numbers.Select(CommonConfig.ToJsonNumber)]);

    private static void SetOrRemove(JsonObject target, string name, int? value)
    {
        if (value is null)
            target.Remove(name);
        else
            target[name] = value;
    }

    private static void Drop(JsonObject target)
    {
        foreach (var name in target.Where(p => p.Value is null).Select(p => p.Key).ToList())
            target.Remove(name);
    }
}
