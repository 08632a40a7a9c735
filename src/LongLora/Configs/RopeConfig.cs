using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The rotary fields of a config: <c>rope_theta</c> with <c>rope_scaling</c>, or both in one <c>rope_parameters</c> (transformers 5). The
/// parameters of each kind are those of transformers' <c>modeling_rope_utils</c>: a missing one is refused, and so is one that the kind
/// does not have.
/// </summary>
internal static class RopeConfig
{
    private const string Proportional = "proportional";

    private const string Proportional = "proportional";

    private static readonly string[] s_kinds = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

    /// <summary>Name of the base of the frequencies outside of <c>rope_parameters</c>.</summary>
    private static string ThetaName(string modelType) => modelType == GptNeoXConfig.ModelType ? "rotary_emb_base" : "rope_theta";

    /// <summary>Takes the rotary fields of a model into its config.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="config">What is known of the model so far, its head size above all.</param>
    /// <param name="rules">What the family's fields may hold; null for what all families have.</param>
    public static ModelConfig Read(ConfigFields fields, ModelConfig config, RopeRules? rules = null)
    {
        rules ??= new RopeRules();
        var outside = new Outside(
            fields,
            config,
            rules,
            fields.PositiveOrNull(ThetaName(config.ModelType)),
            rules.Partial is null ? null : fields.PositiveOrNull(rules.PartialName),
            fields.IntegerOrNull("original_max_position_embeddings")
        );
        if (rules.Partial is null)
            fields.Fixed(rules.PartialName, 1, "whole heads are turned");
        var (scaling, parameters) = (fields.ObjectOrNull("rope_scaling"), fields.ObjectOrNull("rope_parameters"));
        // transformers 5 has one object for each kind of layer where they differ.
        var nested = parameters is not null && s_layerKinds.Any(parameters.Has);
        var (full, local) = (
            nested ? parameters!.ObjectOrNull(s_layerKinds[0]) : parameters,
            nested ? parameters!.ObjectOrNull(s_layerKinds[1]) : null
        );
        if (nested)
            parameters!.RefuseOthers("'rope_parameters' with an object for each kind of layer");
        var main = Read(outside, parameters is null ? scaling : full, config.HeadSize, optionalKind: parameters is not null);
        if (scaling is not null && parameters is not null)
            fields.Require(
                AreSame(main, Read(outside, scaling, config.HeadSize, optionalKind: false)),
                "rope_scaling",
                "rope_parameters is there too and says something else. Only one of them can hold; remove the wrong one"
            );
        config = config with
        {
            RopeTheta = main.Theta,
            RopeScaling = main.Scaling,
            RotarySize = main.RotarySize == config.HeadSize ? 0 : main.RotarySize,
        };
        return WithLocal(outside, config, main, local, nested);
    }

    private static readonly string[] s_layerKinds = [LayerTypes.Full, LayerTypes.Sliding];

    private static ModelConfig WithLocal(Outside outside, ModelConfig config, RopeSettings main, ConfigFields? own, bool nested)
    {
        var (fields, rules) = (outside.Fields, outside.Rules);
        var theta = rules.LocalThetaName is { } name ? fields.PositiveOrNull(name) : null;
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
            throw fields.Missing("rope_parameters." + s_layerKinds[1]);
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
                RotarySize = RotarySize(outside, null, headSize),
            };
        var kind = ReadKind(rope, optionalKind, outside.Rules);
        var innerTheta = rope.PositiveOrNull("rope_theta");
        rope.Require(
            outside.Theta is null || innerTheta is null || outside.Theta == innerTheta,
            "rope_theta",
            $"outside, {ThetaName(outside.Config.ModelType)} is {outside.Theta}"
        );
        var innerOriginal = rope.IntegerOrNull("original_max_position_embeddings");
        rope.Require(
            original is null || innerOriginal is null || original == innerOriginal,
            "original_max_position_embeddings",
            $"outside, original_max_position_embeddings is {original}"
        );
        var size = kind == Proportional ? headSize : RotarySize(outside, rope, headSize);
        var read = ReadParameters(rope, kind, size, outside.Rules) with { OriginalMaxPositions = innerOriginal ?? original };
        rope.Require(kind != "llama3" || read.OriginalMaxPositions is not null, "original_max_position_embeddings", "llama3 needs it");
        foreach (var note in outside.Rules.Notes)
            rope.Note(note);
        rope.RefuseOthers($"'{kind}' scaling");
        return new()
        {
            Theta = innerTheta ?? outside.Theta ?? outside.Rules.Theta,
            Scaling = read,
            RotarySize = size,
        };
    }

    private static int RotarySize(Outside outside, ConfigFields? rope, int headSize)
    {
        const string within = "partial_rotary_factor";
        var rules = outside.Rules;
        if (rules.Partial is not { } absent)
        {
            rope?.Fixed(within, 1, "whole heads are turned");
            return headSize;
        }
        var (outer, inner) = (outside.Partial, rope?.PositiveOrNull(within));
        rope?.Require(outer is null || inner is null || outer == inner, within, $"outside, {rules.PartialName} is {outer}");
        var size = (int)(headSize * (inner ?? outer ?? absent));
        outside.Fields.Require(
            size >= 2 && size <= headSize && size % 2 == 0,
            rules.PartialName,
            $"of a head of {headSize} numbers it turns {size}; that must be even, at least 2 and at most {headSize}"
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
        // Kinds with one parameter have their original context outside: transformers before 4.43 takes exactly two fields in rope_scaling.
        var single = scaling.Kind is "default" or "linear" or "dynamic";
        // Phi-3's config class takes exactly three fields there (type and the two lists) before transformers 5.
        var isOutside = single || config.ModelType == Phi3Config.ModelType;
        // transformers before 5 looks for LongRoPE's outside, whatever the family; without it a long text would have the short one's
        // angles.
        if (!rules.IsModern && (isOutside || scaling.Kind == "longrope" || root.ContainsKey("original_max_position_embeddings")))
            SetOrRemove(root, "original_max_position_embeddings", scaling.OriginalMaxPositions);

        if (root["rope_parameters"] is JsonObject present)
        {
            var main = Modern(config.RopeTheta, scaling, config.RotarySize, config.HeadSize, isOutside && !rules.IsModern);
            var nested = s_layerKinds.Any(present.ContainsKey);
            root["rope_parameters"] =
                config.LocalRope is { } local && (nested || present.Count == 0)
                    ? new JsonObject
                    {
                        [s_layerKinds[0]] = main,
                        [s_layerKinds[1]] = Modern(
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
        var inner = Parameters(scaling);
        if (!isOutside)
            inner["original_max_position_embeddings"] = scaling.OriginalMaxPositions;
        Drop(inner);
        root[ThetaName(config.ModelType)] = CommonConfig.Number(config.RopeTheta);
        if (rules.LocalThetaName is { } name && config.LocalRope is { } own)
            root[name] = CommonConfig.Number(own.Theta);
        if (!isOutside || root["rope_scaling"] is JsonObject old && old.ContainsKey("rope_type"))
            inner.Insert(0, "rope_type", scaling.Kind);
        inner.Insert(0, "type", scaling.Kind);
        root["rope_scaling"] = scaling.Kind == "default" ? null : inner;
    }

    private static JsonObject Modern(double theta, RopeScalingConfig scaling, int rotarySize, int headSize, bool isOutside)
    {
        var inner = Parameters(scaling);
        if (!isOutside)
            inner["original_max_position_embeddings"] = scaling.OriginalMaxPositions;
        Drop(inner);
        inner.Insert(0, "rope_theta", CommonConfig.Number(theta));
        inner.Insert(1, "rope_type", scaling.Kind);
        if (rotarySize != headSize)
            inner.Insert(2, "partial_rotary_factor", CommonConfig.Number((double)rotarySize / headSize));
        return inner;
    }

    private static string ReadKind(ConfigFields rope, bool optional, RopeRules rules)
    {
        var kind = rope.TextOrNull("rope_type");
        var formerly = rope.TextOrNull("type");
        rope.Require(kind is null || formerly is null || Modern(kind) == Modern(formerly), "type", $"rope_type is '{kind}'");
        rope.Require(optional || kind is not null || formerly is not null, "rope_type", $"one of {string.Join(", ", s_kinds)} is needed");
        var found = Modern(kind ?? formerly ?? "default");
        rope.Require(
            s_kinds.Contains(found) || (rules.HasProportional && found == Proportional),
            kind is null ? "type" : "rope_type",
            $"supported: {string.Join(", ", s_kinds)}"
        );
        return found;
    }

    private static string Modern(string kind) => kind == "su" ? "longrope" : kind;

    private static RopeScalingConfig ReadParameters(ConfigFields rope, string kind, int headSize, RopeRules rules)
    {
        var scaling = new RopeScalingConfig
        {
            Kind = kind,
            QueryGrowth = rules.QueriesGrow ? rope.NumberOrNull("llama_4_scaling_beta", 0) : null,
        };
        switch (kind)
        {
            case Proportional:
                return scaling with
                {
                    Factor = rope.NumberOrNull("factor", 1) ?? 1,
                    RotatedShare = rope.Number("partial_rotary_factor", 0),
                };
            case "dynamic" when rules.HasAlpha && rope.PositiveOrNull("alpha") is { } alpha:
                // The other numbers stand in every published file, and nobody looks at them beside alpha.
                return scaling with
                {
                    Alpha = alpha,
                    Factor = rope.NumberOrNull("factor", 1) ?? 1,
                    BetaFast = rope.PositiveOrNull("beta_fast"),
                    BetaSlow = rope.PositiveOrNull("beta_slow"),
                    Mscale = rope.NumberOrNull("mscale", 0),
                    MscaleAllDim = rope.NumberOrNull("mscale_all_dim", 0),
                };
            case "linear" or "dynamic":
                return scaling with { Factor = rope.Number("factor", 1) };
            case "yarn":
                scaling = scaling with
                {
                    Factor = rope.Number("factor", 1),
                    AttentionFactor = rope.PositiveOrNull("attention_factor"),
                    BetaFast = rope.PositiveOrNull("beta_fast"),
                    BetaSlow = rope.PositiveOrNull("beta_slow"),
                    // transformers takes a 0 as absent.
                    Mscale = rope.NumberOrNull("mscale", 0) is > 0 and var scale ? scale : null,
                    MscaleAllDim = rope.NumberOrNull("mscale_all_dim", 0) is > 0 and var all ? all : null,
                    Truncate = rope.FlagOrNull("truncate"),
                };
                rope.Require((scaling.BetaFast ?? 32) > (scaling.BetaSlow ?? 1), "beta_fast", "it must be above beta_slow");
                return scaling;
            case "llama3":
                scaling = scaling with
                {
                    Factor = rope.Number("factor", 1),
                    LowFrequencyFactor = rope.Number("low_freq_factor", double.Epsilon),
                    HighFrequencyFactor = rope.Number("high_freq_factor", double.Epsilon),
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
                    Factor = rope.NumberOrNull("factor", 1) ?? 1,
                    AttentionFactor = rope.PositiveOrNull("attention_factor"),
                    ShortFactors = rope.NumbersOrNull("short_factor", headSize / 2),
                    LongFactors = rope.NumbersOrNull("long_factor", headSize / 2),
                };
                rope.Require(scaling.ShortFactors is not null, "short_factor", $"longrope needs it: {headSize / 2} numbers");
                rope.Require(scaling.LongFactors is not null, "long_factor", $"longrope needs it: {headSize / 2} numbers");
                return scaling;
            default:
                return scaling;
        }
    }

    // Every parameter that the kind may have; null where it is left out.
    private static JsonObject Parameters(RopeScalingConfig scaling) =>
        scaling.Kind switch
        {
            "default" => [],
            Proportional => new()
            {
                ["factor"] = scaling.Factor > 1 ? CommonConfig.Number(scaling.Factor) : null,
                ["partial_rotary_factor"] = Optional(scaling.RotatedShare),
            },
            "dynamic" when scaling.Alpha is not null => new()
            {
                ["alpha"] = Optional(scaling.Alpha),
                ["factor"] = CommonConfig.Number(scaling.Factor),
                ["beta_fast"] = Optional(scaling.BetaFast),
                ["beta_slow"] = Optional(scaling.BetaSlow),
                ["mscale"] = Optional(scaling.Mscale),
                ["mscale_all_dim"] = Optional(scaling.MscaleAllDim),
            },
            "linear" or "dynamic" => new() { ["factor"] = CommonConfig.Number(scaling.Factor) },
            "yarn" => new()
            {
                ["factor"] = CommonConfig.Number(scaling.Factor),
                ["attention_factor"] = Optional(scaling.AttentionFactor),
                ["beta_fast"] = Optional(scaling.BetaFast),
                ["beta_slow"] = Optional(scaling.BetaSlow),
                ["mscale"] = Optional(scaling.Mscale),
                ["mscale_all_dim"] = Optional(scaling.MscaleAllDim),
                ["truncate"] = scaling.Truncate,
                ["llama_4_scaling_beta"] = Optional(scaling.QueryGrowth),
            },
            "llama3" => new()
            {
                ["factor"] = CommonConfig.Number(scaling.Factor),
                ["low_freq_factor"] = Optional(scaling.LowFrequencyFactor),
                ["high_freq_factor"] = Optional(scaling.HighFrequencyFactor),
            },
            "longrope" => new()
            {
                ["factor"] = scaling.Factor > 1 ? CommonConfig.Number(scaling.Factor) : null,
                ["attention_factor"] = Optional(scaling.AttentionFactor),
                ["short_factor"] = List(scaling.ShortFactors),
                ["long_factor"] = List(scaling.LongFactors),
            },
            _ => throw new Runtime.ConfigurationException(
                $"RoPE scaling '{scaling.Kind}' cannot be written; the kinds are {string.Join(", ", s_kinds)}."
            ),
        };

    private static JsonNode? Optional(double? number) => number is { } value ? CommonConfig.Number(value) : null;

    private static JsonArray? List(IReadOnlyList<double>? numbers) =>
        numbers is null ? null : new([.. numbers.Select(CommonConfig.Number)]);

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
