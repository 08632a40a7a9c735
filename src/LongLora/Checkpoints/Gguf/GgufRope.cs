using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads the rotary positions of a GGUF file. Linear and YaRN scaling are in the metadata, and LongRoPE's divisors in two tensors. For
/// Llama 3's scaling the file has only the divisors (<c>rope_freqs.weight</c>), from which the parameters are recovered. Divisors that no
/// parameters give are kept as they are.
/// </summary>
internal sealed class GgufRope(GgufFileSet files, GgufMetadata keys, string architecture)
{
    /// <summary>Tensors with positions instead of weights.</summary>
    public static readonly string[] Tensors = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

    // Divisors are fp32.
    private const double Near = 2e-6;

    private string Key(string name) => $"{architecture}.rope.{name}";

    /// <summary>Adds the rotary keys to a config.</summary>
    /// <param name="config">What is known about the model so far.</param>
    /// <param name="partial">Whether the family can rotate only a part of each head.</param>
    public ModelConfig Read(ModelConfig config, bool partial)
    {
        var size = keys.UniformOrNull(Key("dimension_count")) ?? config.HeadSize;
        if (size % 2 != 0 || size > config.HeadSize || (!partial && size != config.HeadSize))
            throw keys.Bad(
                Key("dimension_count"),
                size,
                $"it must be even and {(partial ? "at most" : "equal to")} the head size, {config.HeadSize}"
            );
        config = config with { RotarySize = size == config.HeadSize ? 0 : size, RopeTheta = keys.NumberOrNull(Key("freq_base")) ?? 10000 };
        var scaling = ReadScaling(config);
        if (Divisors("rope_freqs.weight", size / 2) is { } divisors && divisors.Any(d => d != 1))
        {
            if (scaling.Kind != "default")
                throw new CheckpointException(
                    $"{keys.Path} has both rope_freqs.weight and '{scaling.Kind}' scaling, which are not supported together."
                );
            scaling = OfDivisors(config, divisors);
        }
        return config with { RopeScaling = scaling };
    }

    private RopeScalingConfig ReadScaling(ModelConfig config)
    {
        var factor = keys.NumberOrNull(Key("scaling.factor"), 0) ?? keys.NumberOrNull(Key("scale_linear"), 0) ?? 0;
        keys.Note(Key("scale_linear"));
        // Phi-3's files have the divisors but do not name the kind.
        var type = keys.TextOrNull(Key("scaling.type"))
            ?? (
                files.Tensors.ContainsKey("rope_factors_long.weight") ? "longrope"
                : factor is 0 or 1 ? "none"
                : "linear"
            );
        var original = (int?)keys.IntegerOrNull(Key("scaling.original_context_length"), 1);
        var attention = keys.NumberOrNull(Key("scaling.attn_factor"));
        keys.Fixed(Key("scaling.yarn_log_multiplier"), 0, "Hugging Face's YaRN has no equivalent");
        keys.Fixed(Key("scaling.yarn_ext_factor"), 1, "YaRN must extrapolate by its own formula");
        keys.Fixed(Key("scaling.yarn_attn_factor"), 1, "YaRN's attention factor must come from its formula");
        var (fast, slow) = (keys.NumberOrNull(Key("scaling.yarn_beta_fast")), keys.NumberOrNull(Key("scaling.yarn_beta_slow")));
        switch (type)
        {
            case "none" when factor is 0 or 1:
            case "linear" when factor is 0 or 1:
                return RopeScalingConfig.None;
            case "linear":
                return new()
                {
                    Kind = "linear",
                    Factor = Factor(factor),
                    OriginalMaxPositions = original,
                };
            case "yarn":
                return new()
                {
                    Kind = "yarn",
                    Factor = Factor(factor),
                    OriginalMaxPositions = original,
                    BetaFast = fast is 32 ? null : fast,
                    BetaSlow = slow is 1 ? null : slow,
                    AttentionFactor = attention is null or 1 ? null : attention * (1 + 0.1 * Math.Log(Factor(factor))),
                };
            case "longrope":
                return new()
                {
                    Kind = "longrope",
                    OriginalMaxPositions = original ?? throw keys.Missing(Key("scaling.original_context_length")),
                    AttentionFactor = OwnFactor(config, original.Value, attention ?? 1),
                    LongFactors = Required("rope_factors_long.weight", config.RotarySize / 2),
                    ShortFactors = Required("rope_factors_short.weight", config.RotarySize / 2),
                };
            default:
                throw keys.Bad(
                    Key("scaling.type"),
                    type,
                    $"only none, linear, yarn and longrope are supported{(factor is 0 or 1 ? "" : $"; the factor is {factor}")}"
                );
        }
    }

    private double Factor(double factor) => factor >= 1 ? factor : throw keys.Bad(Key("scaling.factor"), factor, "it must be at least 1");

    // Null if it follows from LongRoPE's formula.
    private static double? OwnFactor(ModelConfig config, int original, double attention)
    {
        var stretch = (double)config.MaxPositions / original;
        var formula = stretch <= 1 ? 1 : Math.Sqrt(1 + Math.Log(stretch) / Math.Log(original));
        return Math.Abs(attention / formula - 1) <= Near ? null : attention;
    }

    private double[] Required(string name, int count) =>
        Divisors(name, count) ?? throw new CheckpointException($"{keys.Path} has longrope scaling but no tensor '{name}'.");

    private double[]? Divisors(string name, int count)
    {
        if (!files.Tensors.TryGetValue(name, out var found))
            return null;
        using var tensor = found.File.Open(name);
        var numbers = tensor.data<float>().ToArray();
        return numbers.Length == count && numbers.All(n => n > 0 && float.IsFinite(n))
            ? Array.ConvertAll(numbers, n => double.Parse($"{n:R}", System.Globalization.CultureInfo.InvariantCulture))
            : throw new CheckpointException(
                $"{found.File.Path}: '{name}' must have {count} numbers above 0, one for each rotated pair of a head, but it has "
                    + $"{numbers.Length}."
            );
    }

    private static RopeScalingConfig OfDivisors(ModelConfig config, double[] divisors) =>
        Llama3(config, divisors)
        ?? new()
        {
            Kind = "longrope",
            OriginalMaxPositions = config.MaxPositions,
            AttentionFactor = 1,
            LongFactors = divisors,
            ShortFactors = divisors,
        };

    /// <summary>
    /// The parameters that give these divisors. Frequencies between the two limits are divided by 1 / ((1 - s) / factor + s) with
    /// s = (original * frequency / 2 pi - low) / (high - low), which is linear in the frequency. Only two of the three parameters are
    /// independent, and low is 1 in every published model.
    /// </summary>
    private static RopeScalingConfig? Llama3(ModelConfig config, double[] divisors)
    {
        var (factor, size) = (divisors.Max(), config.RotarySize);
        double Waves(int i) => Math.Pow(config.RopeTheta, -2.0 * i / size) / (2 * Math.PI);
        double Smooth(int i) => (1 / divisors[i] - 1 / factor) / (1 - 1 / factor);
        var between = Enumerable.Range(0, divisors.Length).Where(i => divisors[i] > 1 + 1e-6 && divisors[i] < factor * (1 - 1e-6)).ToList();
        if (divisors.Any(d => d < 1))
            return null;
        // Not enough divisors to decide: tries the published values, or a context that is the factor times the original one.
        if (between.Count < 2)
            return new[] { 8192, config.MaxPositions / factor }
                .Select(original => Scaling(factor, 4, (int)Math.Round(original)))
                .FirstOrDefault(s => Gives(s, divisors, Waves));
        var (first, last) = (between[0], between[^1]);
        var slope = (Smooth(first) - Smooth(last)) / (Waves(first) - Waves(last));
        var offset = Smooth(first) - slope * Waves(first);
        // s = (original * w - 1) / (high - 1)
        var found = Scaling(factor, Math.Round(1 - 1 / offset, 2), (int)Math.Round(-slope / offset));
        return Gives(found, divisors, Waves) ? found : null;
    }

    private static RopeScalingConfig Scaling(double factor, double high, int original) =>
        new()
        {
            Kind = "llama3",
            Factor = factor,
            LowFrequencyFactor = 1,
            HighFrequencyFactor = high,
            OriginalMaxPositions = original,
        };

    private static bool Gives(RopeScalingConfig scaling, double[] divisors, Func<int, double> waves)
    {
        var (high, original) = (scaling.HighFrequencyFactor!.Value, scaling.OriginalMaxPositions!.Value);
        for (var i = 0; i < divisors.Length; i++)
        {
            var smooth = Math.Clamp((original * waves(i) - 1) / (high - 1), 0, 1);
            if (!(Math.Abs(divisors[i] * ((1 - smooth) / scaling.Factor + smooth) - 1) <= Near))
                return false;
        }
        return high > 1 && original >= 1;
    }
}
