using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Positions;

/// <summary>
/// The frequencies of rotary position embeddings under each kind of rescaling, in double precision. The formulas are those that
/// transformers writes into <c>config.json</c>, so that a model saved here turns its heads by the same angles everywhere.
/// </summary>
public static class RopeScaling
{
    /// <summary>The kinds that can be computed.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

    /// <summary>
    /// Not a kind but a way to <see cref="Extend"/>: texts that fit into the original context keep its positions, longer ones have YaRN's
    /// frequencies. It is written as longrope with short divisors of one, so the short text of an extended model is computed as it was
    /// before.
    /// </summary>
    public const string ByLength = "by-length";

    /// <summary>Whether the frequencies depend on the length of the text.</summary>
    public static bool DependsOnLength(ModelConfig config) => config.RopeScaling.Kind is "dynamic" or "longrope";

    /// <summary>
    /// The length that stands for a text of <paramref name="length"/> tokens that may still grow within <paramref name="context"/>: the
    /// original context where it fits into that, else the whole context, so that a text's angles do not change while it grows.
    /// </summary>
    public static int GetTextLength(ModelConfig config, int length, int context) =>
        length <= GetOriginalContext(config) ? Math.Min(GetOriginalContext(config), context) : context;

    /// <summary>Frequencies for a text of <paramref name="length"/> tokens.</summary>
    /// <param name="config">Rotary size, base and scaling.</param>
    /// <param name="length">Tokens in the text: dynamic and longrope depend on it, the others do not.</param>
    /// <exception cref="ConfigurationException">The kind is unknown, or a parameter of it is missing.</exception>
    public static RopeFrequencies ComputeFrequencies(ModelConfig config, int length)
    {
        var scaling = config.RopeScaling;
        return scaling.Kind switch
        {
            "default" => new(Plain(config.RopeTheta, config.RotarySize), 1),
            "linear" => new(Array.ConvertAll(Plain(config.RopeTheta, config.RotarySize), f => f / scaling.Factor), 1),
            "dynamic" => new(Dynamic(config, length), 1),
            "yarn" => Yarn(config),
            "llama3" => new(Llama3(config), 1),
            "longrope" => LongRope(config, length),
            _ => throw new ConfigurationException(
                $"RoPE scaling '{scaling.Kind}' is not supported; use one of {string.Join(", ", Kinds)}."
            ),
        };
    }

    /// <summary>The context in tokens before any rescaling.</summary>
    public static int GetOriginalContext(ModelConfig config) => config.RopeScaling.OriginalMaxPositions ?? config.MaxPositions;

    /// <summary>
    /// The context in tokens that the model has now. Where a linear scaling does not name its original context,
    /// <c>max_position_embeddings</c> is the original one, as in LongLoRA's published models.
    /// </summary>
    public static int GetCurrentContext(ModelConfig config) =>
        config.RopeScaling is { Kind: "linear", OriginalMaxPositions: null } linear
            ? (int)(config.MaxPositions * linear.Factor)
            : config.MaxPositions;

    /// <summary>
    /// The same model with positions rescaled for <paramref name="context"/> tokens, counted from the context before any rescaling: a model
    /// that was stretched before is not stretched twice. A context that the model already has changes nothing.
    /// </summary>
    /// <param name="config">The model.</param>
    /// <param name="kind">
    /// One of <see cref="Kinds"/>, <see cref="ByLength"/>, or <c>auto</c>: the kind that the model has, linear (position interpolation)
    /// where it has none. Phi-3 without scaling gets longrope with one divisor for all frequencies, which is linear with LongRoPE's
    /// attention factor: transformers takes no other kind for Phi-3.
    /// </param>
    /// <param name="factor">The factor; null for ceil(context / original context), LongLoRA's rule.</param>
    /// <param name="context">The new context in tokens.</param>
    /// <exception cref="ConfigurationException">The kind is unknown, or cannot be put upon the scaling that the model has.</exception>
    public static ModelConfig Extend(ModelConfig config, string kind, double? factor, int context)
    {
        var present = config.RopeScaling;
        if (kind == "auto")
            kind =
                IsByLength(config) ? ByLength
                : present.Kind != "default" ? present.Kind
                : config.ModelType == "phi3" ? "longrope"
                : "linear";
        if (!Kinds.Contains(kind) && kind != ByLength)
            throw new ConfigurationException($"rope-scaling is '{kind}'; use one of auto, {string.Join(", ", Kinds)}, {ByLength}.");
        if (context <= GetCurrentContext(config) && factor is null)
            return config;
        if (kind == "default")
            return config with { MaxPositions = context };
        if (kind == ByLength)
            return ExtendByLength(config, factor, context);
        if (kind == "longrope" && present.Kind == "longrope")
            throw new ConfigurationException(
                $"This model has LongRoPE for {GetCurrentContext(config)} tokens, with a divisor for every frequency that was searched for "
                    + $"that context; "
                    + "no rule gives those of a longer one. Give a context of at most that, or take a model of the family without "
                    + "rope_scaling."
            );
        if (present.Kind != "default" && present.Kind != kind)
            throw new ConfigurationException(
                $"rope-scaling {kind} cannot be put upon the model's own '{present.Kind}' scaling (factor {present.Factor}): "
                    + $"config.json holds one kind only. Use auto or {present.Kind}."
            );

        var original = GetOriginalContext(config);
        var scaling = present with
        {
            Kind = kind,
            Factor = factor ?? Math.Max(Math.Ceiling((double)context / original), present.Factor),
            OriginalMaxPositions = original,
        };
        if (kind == "longrope")
        {
            // The same divisors at every length: a model that was trained at the new context knows no others.
            var divisors = Enumerable.Repeat(scaling.Factor, config.RotarySize / 2).ToArray();
            scaling = scaling with { Factor = 1, ShortFactors = divisors, LongFactors = divisors };
        }
        if (kind == "llama3" && present.Kind != "llama3")
            scaling = scaling with { LowFrequencyFactor = 1, HighFrequencyFactor = 4 };
        // transformers takes max_position_embeddings itself as dynamic scaling's original context.
        return kind == "dynamic"
            ? config with
            {
                RopeScaling = scaling with { OriginalMaxPositions = null },
                MaxPositions = original,
            }
            : config with
            {
                RopeScaling = scaling,
                MaxPositions = context,
            };
    }

    private static bool IsByLength(ModelConfig config) =>
        config.RopeScaling is { Kind: "longrope", AttentionFactor: 1, ShortFactors: { } divisors } && divisors.All(d => d == 1);

    // YaRN's frequencies as LongRoPE's divisors. Its temperature is left out: LongRoPE's factor on cosine and sine is the same at every
    // length, and short text needs 1.
    private static ModelConfig ExtendByLength(ModelConfig config, double? factor, int context)
    {
        if ((config.RopeScaling.Kind != "default" && !IsByLength(config)) || config.ModelType == "phi3")
            throw new ConfigurationException(
                $"rope-scaling {ByLength} keeps the original positions of short text, which "
                    + (
                        config.ModelType == "phi3"
                            ? "Phi-3's config cannot say beside other ones for long text. Use auto."
                            : $"this model's '{config.RopeScaling.Kind}' scaling has replaced already. Use auto or "
                                + $"{config.RopeScaling.Kind}."
                    )
            );
        var original = GetOriginalContext(config);
        var stretch = factor ?? Math.Ceiling((double)context / original);
        var yarn = Yarn(
            config with
            {
                RopeScaling = new RopeScalingConfig
                {
                    Kind = "yarn",
                    Factor = stretch,
                    OriginalMaxPositions = original,
                },
            }
        );
        return config with
        {
            MaxPositions = context,
            RopeScaling = new RopeScalingConfig
            {
                Kind = "longrope",
                Factor = stretch,
                OriginalMaxPositions = original,
                AttentionFactor = 1,
                ShortFactors = [.. yarn.Inverse.Select(_ => 1.0)],
                LongFactors = [.. Plain(config.RopeTheta, config.RotarySize).Zip(yarn.Inverse, (plain, slow) => plain / slow)],
            },
        };
    }

    // theta^(-2i/R)
    private static double[] Plain(double theta, int size)
    {
        var inverse = new double[size / 2];
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] = Math.Pow(theta, -2.0 * i / size);
        return inverse;
    }

    // "NTK-aware" with a base that grows with the length (transformers, _compute_dynamic_ntk_parameters).
    private static double[] Dynamic(ModelConfig config, int length)
    {
        double native = config.RopeScaling.OriginalMaxPositions ?? config.MaxPositions;
        double factor = config.RopeScaling.Factor,
            size = config.RotarySize;
        var longest = Math.Max(length, native);
        var theta = config.RopeTheta * Math.Pow(factor * longest / native - (factor - 1), size / (size - 2));
        return Plain(theta, config.RotarySize);
    }

    // YaRN (arXiv 2309.00071), section 3.2 "NTK-by-parts" and 3.3 attention scaling.
    private static RopeFrequencies Yarn(ModelConfig config)
    {
        var scaling = config.RopeScaling;
        double original = scaling.OriginalMaxPositions ?? config.MaxPositions;
        var size = config.RotarySize;
        double Dimension(double rotations) => size * Math.Log(original / (rotations * 2 * Math.PI)) / (2 * Math.Log(config.RopeTheta));

        double low = Dimension(scaling.BetaFast ?? 32),
            high = Dimension(scaling.BetaSlow ?? 1);
        if (scaling.Truncate ?? true)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, size - 1));
        if (low == high)
            high += 0.001;

        var inverse = Plain(config.RopeTheta, size);
        for (var i = 0; i < inverse.Length; i++)
        {
            var interpolated = Math.Clamp((i - low) / (high - low), 0, 1);
            inverse[i] *= interpolated / scaling.Factor + (1 - interpolated);
        }
        return new(inverse, scaling.AttentionFactor ?? YarnAttentionFactor(scaling));
    }

    private static double YarnAttentionFactor(RopeScalingConfig scaling)
    {
        double Scale(double multiplier) => scaling.Factor <= 1 ? 1 : 0.1 * multiplier * Math.Log(scaling.Factor) + 1;
        return scaling is { Mscale: { } m, MscaleAllDim: { } all } ? Scale(m) / Scale(all) : Scale(1);
    }

    // Llama 3.1: long waves are interpolated, short ones kept, those between blended.
    private static double[] Llama3(ModelConfig config)
    {
        var scaling = config.RopeScaling;
        double low = Required(scaling.LowFrequencyFactor, "low_freq_factor"),
            high = Required(scaling.HighFrequencyFactor, "high_freq_factor");
        double original = Required(scaling.OriginalMaxPositions, "original_max_position_embeddings");
        return Array.ConvertAll(Plain(config.RopeTheta, config.RotarySize), frequency =>
        {
            var wave = 2 * Math.PI / frequency;
            if (wave < original / high)
                return frequency;
            if (wave > original / low)
                return frequency / scaling.Factor;
            var smooth = (original / wave - low) / (high - low);
            return (1 - smooth) * frequency / scaling.Factor + smooth * frequency;
        });
    }

    // LongRoPE (arXiv 2402.13753) as Phi-3 has it: one divisor a frequency, other ones beyond the original context.
    private static RopeFrequencies LongRope(ModelConfig config, int length)
    {
        var scaling = config.RopeScaling;
        var original = scaling.OriginalMaxPositions ?? config.MaxPositions;
        var divisors = length > original ? scaling.LongFactors : scaling.ShortFactors;
        var inverse = Plain(config.RopeTheta, config.RotarySize);
        if (divisors is null || divisors.Count != inverse.Length)
            throw new ConfigurationException(
                $"longrope needs short_factor and long_factor of {inverse.Length} numbers (half of the numbers of a head that turn); "
                    + $"seen {divisors?.Count.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "none"}."
            );
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] /= divisors[i];
        var stretch = scaling.Factor > 1 ? scaling.Factor : (double)config.MaxPositions / original;
        return new(inverse, scaling.AttentionFactor ?? (stretch <= 1 ? 1 : Math.Sqrt(1 + Math.Log(stretch) / Math.Log(original))));
    }

    private static double Required(double? value, string name) =>
        value ?? throw new ConfigurationException($"RoPE scaling needs '{name}'; give it in rope_scaling of config.json.");
}
