using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The rotary fields of a config: <c>rope_theta</c> with <c>rope_scaling</c>, or both in one <c>rope_parameters</c> (transformers 5). The
/// parameters of each kind are those of transformers' <c>modeling_rope_utils</c>. A missing parameter is an error, and so is one that the
/// kind does not have.
/// </summary>
internal static class RopeConfig
{
    private const string Proportional = "proportional";

    private static readonly string[] s_kinds = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

    /// <summary>Name of the field for the base of the frequencies outside of <c>rope_parameters</c>.</summary>
    private static string GetThetaName(string modelType) => modelType == GptNeoXConfig.ModelType ? "rotary_emb_base" : "rope_theta";

    /// <summary>Reads the rotary fields of a model into its config.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="config">What is known about the model so far; its head size is needed.</param>
    /// <param name="rules">What the family's fields may hold; null for what all families have.</param>
    public static ModelConfig Read(ConfigFields fields, ModelConfig config, RopeRules? rules = null)
    {
        rules ??= new RopeRules();
        var outside = new Outside(
            fields,
            config,
            rules,
            ReadTheta(fields, GetThetaName(config.ModelType)),
            rules.Partial is null ? null : fields.ReadPositiveOrNull(rules.PartialName),
            fields.ReadIntegerOrNull("original_max_position_embeddings")
        );
        if (rules.Partial is null)
            fields.RequireFixed(rules.PartialName, 1, "the family rotates whole heads");
        var (scaling, parameters) = (fields.ReadObjectOrNull("rope_scaling"), fields.ReadObjectOrNull("rope_parameters"));
        // transformers 5 has one object for each kind of layer where they differ.
        var nested = parameters is not null && s_layerKinds.Any(parameters.Has);
        var (full, local) = (
            nested ? parameters!.ReadObjectOrNull(s_layerKinds[0]) : parameters,
            nested ? parameters!.ReadObjectOrNull(s_layerKinds[1]) : null
        );
        if (nested)
            parameters!.RefuseOthers("'rope_parameters' with an object for each kind of layer");
        var main = Read(outside, parameters is null ? scaling : full, config.HeadSize, optionalKind: parameters is not null);
        if (scaling is not null && parameters is not null)
            fields.Require(
                AreSame(main, Read(outside, scaling, config.HeadSize, optionalKind: false)),
                "rope_scaling",
                "the file also has rope_parameters, which disagree; remove one of the two"
            );
        config = config with
        {
            RopeTheta = main.Theta,
            RopeScaling = main.Scaling,
            RotarySize = main.RotarySize == config.HeadSize ? 0 : main.RotarySize,
        };
        return WithLocal(outside, config, main, local, nested);
    }

    // GPT-NeoX's files may have the common name beside the family's own.
    private static double? ReadTheta(ConfigFields fields, string name)
    {
        const string common = "rope_theta";
        var (theta, other) = (fields.ReadPositiveOrNull(name), fields.ReadPositiveOrNull(common));
        fields.Require(theta is null || other is null || theta == other, common, $"it must equal {name}, which is {theta}");
        return theta ?? other;
    }

    private static readonly string[] s_layerKinds = [LayerTypes.Full, LayerTypes.Sliding];

    private static ModelConfig WithLocal(Outside outside, ModelConfig config, RopeSettings main, ConfigFields? own, bool nested)
    {
        var (fields, rules) = (outside.Fields, outside.Rules);
        var theta = rules.LocalThetaName is { } name ? fields.ReadPositiveOrNull(name) : null;
        var size = rules.LocalHeadSize ?? config.HeadSize;
        if (!rules.HasLocal)
        {
            fields.Require(
                !nested || (own is not null && AreSame(main, Read(outside, own, size, optionalKind: true))),
                "rope_parameters",
                "the layers of this family have one kind of positions"
            );
            return config;
        }
        if (!nested)
            theta ??= rules.LocalThetaName is null ? main.Theta : rules.LocalTheta;
        else if (own is null)
            throw fields.MakeMissingError("rope_parameters." + s_layerKinds[1]);
        return config with
        {
            LocalRope = own is null
                ? new RopeSettings { Theta = theta!.Value, RotarySize = size }
                : Read(outside with { Theta = theta, Partial = null, OriginalMaxPositions = null }, own, size, optionalKind: true),
        };
    }

    // What stands beside the objects.
    private sealed record Outside(
        ConfigFields Fields,
        ModelConfig Config,
        RopeRules Rules,
        double? Theta,
        double? Partial,
        int? OriginalMaxPositions
    );

    private static RopeSettings Read(Outside outside, ConfigFields? rope, int headSize, bool optionalKind)
    {
        var original = outside.OriginalMaxPositions;
        if (rope is null)
            return new()
            {
                Theta = outside.Theta ?? outside.Rules.Theta,
                Scaling = original is null ? RopeScalingConfig.None : new RopeScalingConfig { OriginalMaxPositions = original },
                RotarySize = ReadRotarySize(outside, null, headSize),
            };
        var kind = ReadKind(rope, optionalKind, outside.Rules);
        var innerTheta = rope.ReadPositiveOrNull("rope_theta");
        rope.Require(
            outside.Theta is null || innerTheta is null || outside.Theta == innerTheta,
            "rope_theta",
            $"it must equal {GetThetaName(outside.Config.ModelType)} outside, which is {outside.Theta}"
        );
        var innerOriginal = rope.ReadIntegerOrNull("original_max_position_embeddings");
        rope.Require(
            original is null || innerOriginal is null || original == innerOriginal,
            "original_max_position_embeddings",
            $"it must equal original_max_position_embeddings outside, which is {original}"
        );
        var size = kind == Proportional ? headSize : ReadRotarySize(outside, rope, headSize);
        var read = ReadParameters(rope, kind, size, outside.Rules) with { OriginalMaxPositions = innerOriginal ?? original };
        rope.Require(kind != "llama3" || read.OriginalMaxPositions is not null, "original_max_position_embeddings", "llama3 requires it");
        foreach (var note in outside.Rules.Notes)
            rope.MarkKnown(note);
        rope.RefuseOthers($"'{kind}' scaling");
        return new()
        {
            Theta = innerTheta ?? outside.Theta ?? outside.Rules.Theta,
            Scaling = read,
            RotarySize = size,
        };
    }

    private static int ReadRotarySize(Outside outside, ConfigFields? rope, int headSize)
    {
        const string within = "partial_rotary_factor";
        var rules = outside.Rules;
        if (rules.Partial is not { } absent)
        {
            rope?.RequireFixed(within, 1, "the family rotates whole heads");
            return headSize;
        }
        var (outer, inner) = (outside.Partial, rope?.ReadPositiveOrNull(within));
        rope?.Require(
            outer is null || inner is null || outer == inner,
            within,
            $"it must equal {rules.PartialName} outside, which is {outer}"
        );
        var size = (int)(headSize * (inner ?? outer ?? absent));
        outside.Fields.Require(
            size >= 2 && size <= headSize && size % 2 == 0,
            rules.PartialName,
            $"it rotates {size} of a head's {headSize} numbers; that must be even, at least 2 and at most {headSize}"
        );
        return size;
    }

    // Whether two forms mean the same: parameters that one leaves to their defaults may stand in the other.
    private static bool AreSame(RopeSettings one, RopeSettings other)
    {
        static RopeScalingConfig Plain(RopeScalingConfig scaling) =>
            scaling with
            {
                BetaFast = scaling.Kind == "yarn" ? scaling.BetaFast ?? 32 : null,
                BetaSlow = scaling.Kind == "yarn" ? scaling.BetaSlow ?? 1 : null,
                Truncate = scaling.Kind == "yarn" ? scaling.Truncate ?? true : null,
                ShortFactors = null,
                LongFactors = null,
            };
        static bool SameList(IReadOnlyList<double>? a, IReadOnlyList<double>? b) => (a ?? []).SequenceEqual(b ?? []);
        var (a, b) = (one.Scaling, other.Scaling);
        return one.Theta == other.Theta
            && one.RotarySize == other.RotarySize
            && Plain(a) == Plain(b)
            && SameList(a.ShortFactors, b.ShortFactors)
            && SameList(a.LongFactors, b.LongFactors);
    }

    /// <summary>Writes theta and scaling into a config, in the style of the one that is there, or in both where it has both.</summary>
    public static void Write(JsonObject root, ModelConfig config)
    {
        var (scaling, rules) = (config.RopeScaling, RopeRules.Of(config));
        // Kinds with one parameter have their original context outside: transformers before 4.43 accepts exactly two fields in
        // rope_scaling.
        var single = scaling.Kind is "default" or "linear" or "dynamic";
        // Before transformers 5, Phi-3's config class accepts exactly three fields there (type and the two lists).
        var isOutside = single || config.ModelType == Phi3Config.ModelType;
        // For LongRoPE, transformers before 5 looks for it outside, whatever the family. Without it a long text would get the angles of a
        // short one.
        if (!rules.IsModern && (isOutside || scaling.Kind == "longrope" || root.ContainsKey("original_max_position_embeddings")))
            SetOrRemove(root, "original_max_position_embeddings", scaling.OriginalMaxPositions);

        if (root["rope_parameters"] is JsonObject present)
        {
            var main = DescribeModern(config.RopeTheta, scaling, config.RotarySize, config.HeadSize, isOutside && !rules.IsModern);
            var nested = s_layerKinds.Any(present.ContainsKey);
            root["rope_parameters"] =
                config.LocalRope is { } local && (nested || present.Count == 0)
                    ? new JsonObject
                    {
                        [s_layerKinds[0]] = main,
                        [s_layerKinds[1]] = DescribeModern(
                            local.Theta,
                            local.Scaling,
                            local.RotarySize,
                            rules.LocalHeadSize ?? local.RotarySize,
                            isOutside: false
                        ),
                    }
                : nested ? new JsonObject { [s_layerKinds[0]] = main, [s_layerKinds[1]] = main.DeepClone() }
                : main;
            if (root["rope_scaling"] is not JsonObject)
                return;
        }
        var inner = DescribeParameters(scaling);
        if (!isOutside)
            inner["original_max_position_embeddings"] = scaling.OriginalMaxPositions;
        Drop(inner);
        root[GetThetaName(config.ModelType)] = CommonConfig.ToJsonNumber(config.RopeTheta);
        if (root.ContainsKey("rope_theta"))
            root["rope_theta"] = CommonConfig.ToJsonNumber(config.RopeTheta);
        if (rules.LocalThetaName is { } name && config.LocalRope is { } own)
            root[name] = CommonConfig.ToJsonNumber(own.Theta);
        if (!isOutside || root["rope_scaling"] is JsonObject old && old.ContainsKey("rope_type"))
            inner.Insert(0, "rope_type", scaling.Kind);
        inner.Insert(0, "type", scaling.Kind);
        root["rope_scaling"] = scaling.Kind == "default" ? null : inner;
    }

    private static JsonObject DescribeModern(double theta, RopeScalingConfig scaling, int rotarySize, int headSize, bool isOutside)
    {
        var inner = DescribeParameters(scaling);
        if (!isOutside)
            inner["original_max_position_embeddings"] = scaling.OriginalMaxPositions;
        Drop(inner);
        inner.Insert(0, "rope_theta", CommonConfig.ToJsonNumber(theta));
        inner.Insert(1, "rope_type", scaling.Kind);
        if (rotarySize != headSize)
            inner.Insert(2, "partial_rotary_factor", CommonConfig.ToJsonNumber((double)rotarySize / headSize));
        return inner;
    }

    private static string ReadKind(ConfigFields rope, bool optional, RopeRules rules)
    {
        var kind = rope.ReadTextOrNull("rope_type");
        var formerly = rope.ReadTextOrNull("type");
        rope.Require(
            kind is null || formerly is null || ModernizeName(kind) == ModernizeName(formerly),
            "type",
            $"it must equal rope_type, which is '{kind}'"
        );
        rope.Require(optional || kind is not null || formerly is not null, "rope_type", $"it must be one of {string.Join(", ", s_kinds)}");
        var found = ModernizeName(kind ?? formerly ?? "default");
        rope.Require(
            s_kinds.Contains(found) || (rules.HasProportional && found == Proportional),
            kind is null ? "type" : "rope_type",
            $"supported: {string.Join(", ", s_kinds)}"
        );
        return found;
    }

    private static string ModernizeName(string kind) => kind == "su" ? "longrope" : kind;

    private static RopeScalingConfig ReadParameters(ConfigFields rope, string kind, int headSize, RopeRules rules)
    {
        var scaling = new RopeScalingConfig
        {
            Kind = kind,
            QueryGrowth = rules.QueriesGrow ? rope.ReadNumberOrNull("llama_4_scaling_beta", 0) : null,
        };
        switch (kind)
        {
            case Proportional:
                return scaling with
                {
                    Factor = rope.ReadNumberOrNull("factor", 1) ?? 1,
                    RotatedShare = rope.ReadNumber("partial_rotary_factor", 0),
                };
            case "dynamic" when rules.HasAlpha && rope.ReadPositiveOrNull("alpha") is { } alpha:
                // The other numbers stand in every published file, and nobody looks at them beside alpha.
                return scaling with
                {
                    Alpha = alpha,
                    Factor = rope.ReadNumberOrNull("factor", 1) ?? 1,
                    BetaFast = rope.ReadPositiveOrNull("beta_fast"),
                    BetaSlow = rope.ReadPositiveOrNull("beta_slow"),
                    Mscale = rope.ReadNumberOrNull("mscale", 0),
                    MscaleAllDim = rope.ReadNumberOrNull("mscale_all_dim", 0),
                };
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
            Proportional => new()
            {
                ["factor"] = scaling.Factor > 1 ? CommonConfig.ToJsonNumber(scaling.Factor) : null,
                ["partial_rotary_factor"] = ToJsonNumber(scaling.RotatedShare),
            },
            "dynamic" when scaling.Alpha is not null => new()
            {
                ["alpha"] = ToJsonNumber(scaling.Alpha),
                ["factor"] = CommonConfig.ToJsonNumber(scaling.Factor),
                ["beta_fast"] = ToJsonNumber(scaling.BetaFast),
                ["beta_slow"] = ToJsonNumber(scaling.BetaSlow),
                ["mscale"] = ToJsonNumber(scaling.Mscale),
                ["mscale_all_dim"] = ToJsonNumber(scaling.MscaleAllDim),
            },
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
                ["llama_4_scaling_beta"] = ToJsonNumber(scaling.QueryGrowth),
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
