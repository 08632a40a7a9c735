using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Positions;

/// <summary>
/// The frequencies of rotary position embeddings for each kind of rescaling, in double precision. The formulas are those that transformers
/// uses for the same fields of <c>config.json</c>, so a model that is saved here has the same angles everywhere.
/// </summary>
public static class RopeScaling
{
    /// <summary>The kinds that can be computed.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

    /// <summary>
    /// Not a kind but a way to <see cref="Extend"/> a model: texts that fit into the original context keep their positions, and longer
    /// texts get YaRN's frequencies. It is saved as longrope whose short divisors are 1, so the extended model computes short texts exactly
    /// as before.
    /// </summary>
    public const string ByLength = "by-length";

    internal const string Proportional = "proportional";

    /// <summary>Whether the frequencies depend on the length of the text.</summary>
    public static bool DependsOnLength(ModelConfig config) =>
        config.RopeScaling is { Kind: "dynamic", Alpha: null } or { Kind: "longrope" };

    /// <summary>
    /// The text length to use for a text of <paramref name="length"/> tokens that may still grow within <paramref name="context"/>: the
    /// original context if the text fits into it, else the whole context. So the angles do not change while a text grows.
    /// </summary>
    public static int GetTextLength(ModelConfig config, int length, int context) =>
        length <= GetOriginalContext(config) ? Math.Min(GetOriginalContext(config), context) : context;

    /// <summary>Frequencies for a text of <paramref name="length"/> tokens.</summary>
    /// <param name="config">Rotary size, base and scaling.</param>
    /// <param name="length">Tokens in the text. Only dynamic and longrope depend on it.</param>
    /// <exception cref="ConfigurationException">The kind is unknown, or one of its parameters is missing.</exception>
    internal static RopeFrequencies ComputeFrequencies(ModelConfig config, int length)
    {
        var scaling = config.RopeScaling;
        return scaling.Kind switch
        {
            "default" => new(ComputePlain(config.RopeTheta, config.RotarySize), 1),
            "linear" => new(Array.ConvertAll(ComputePlain(config.RopeTheta, config.RotarySize), f => f / scaling.Factor), 1),
            "dynamic" => new(ComputeDynamic(config, length), 1),
            "yarn" => ComputeYarn(config),
            "llama3" => new(ComputeLlama3(config), 1),
            "longrope" => ComputeLongRope(config, length),
            Proportional => new(ComputeProportional(config), 1),
            _ => throw new ConfigurationException(
                $"RoPE scaling '{scaling.Kind}' is not supported. Use one of {string.Join(", ", Kinds)}."
            ),
        };
    }

    /// <summary>The base of the frequencies, raised where a fixed <c>alpha</c> raises it.</summary>
    internal static double GetBase(ModelConfig config) =>
        config.RopeScaling.Alpha is { } alpha
            ? config.RopeTheta * Math.Pow(alpha, config.RotarySize / (config.RotarySize - 2.0))
            : config.RopeTheta;

    /// <summary>The same model with the rotary positions of its layers with <see cref="LayerRotation.Local"/> in all layers.</summary>
    internal static ModelConfig MakeLocal(ModelConfig config) =>
        config.LocalRope is { } local
            ? config with
            {
                RopeTheta = local.Theta,
                RopeScaling = local.Scaling,
                RotarySize = local.RotarySize,
                LocalRope = null,
            }
            : config;

    /// <summary>
    /// The context in tokens before any rescaling. For dynamic scaling it is always <c>max_position_embeddings</c>, as in transformers.
    /// </summary>
    public static int GetOriginalContext(ModelConfig config) =>
        config.RopeScaling.Kind == "dynamic" ? config.MaxPositions : config.RopeScaling.OriginalMaxPositions ?? config.MaxPositions;

    /// <summary>
    /// The context in tokens that the model has now, derived as in vLLM. For llama3, longrope and models without scaling it is
    /// <c>max_position_embeddings</c>. For dynamic scaling it is that number times the factor. If a linear scaling does not give another
    /// original context, then <c>max_position_embeddings</c> is the original one, as in LongLoRA's published models. If the factor of a
    /// YaRN scaling reaches beyond <c>max_position_embeddings</c>, the file was not changed when the scaling was added, as in the
    /// documentation of Qwen. Then the context is the original one times the factor.
    /// </summary>
    public static int GetCurrentContext(ModelConfig config) =>
        config.RopeScaling switch
        {
            { Kind: "linear" } linear when GetOriginalContext(config) == config.MaxPositions => (int)(config.MaxPositions * linear.Factor),
            { Kind: "dynamic", Alpha: null } dynamic => (int)(config.MaxPositions * dynamic.Factor),
            { Kind: "yarn" } yarn when Math.Ceiling((double)config.MaxPositions / GetOriginalContext(config)) < yarn.Factor => (int)(
                GetOriginalContext(config) * yarn.Factor
            ),
            _ => config.MaxPositions,
        };

    /// <summary>
    /// The same model with positions rescaled for <paramref name="context"/> tokens. The factor counts from the context before any
    /// rescaling, so a model is never rescaled twice. If the model already has that context, nothing changes.
    /// </summary>
    /// <param name="config">The model.</param>
    /// <param name="kind">
    /// One of <see cref="Kinds"/>, <see cref="ByLength"/>, or <c>auto</c>: the kind that the model already has, or else YaRN, with
    /// which models lose least before they are trained (docs/results/positions.md). Phi-3 without scaling gets longrope with one divisor
    /// for all frequencies, because transformers accepts no other kind for Phi-3. That is linear scaling with LongRoPE's attention factor.
    /// A model in which every layer with positions has a window, and the other layers have no positions, keeps its positions: they never
    /// reach further than the window.
    /// </param>
    /// <param name="factor">The factor; null for ceil(context / original context), LongLoRA's rule.</param>
    /// <param name="context">The new context in tokens.</param>
    /// <exception cref="ConfigurationException">The kind is unknown, or it cannot be combined with the model's own scaling.</exception>
    public static ModelConfig Extend(ModelConfig config, string kind, double? factor, int context)
    {
        var present = config.RopeScaling;
        if (kind == "auto" && factor is null && NeedsNoScaling(config))
            return context <= GetCurrentContext(config) ? config : config with { MaxPositions = context };
        if (kind == "auto")
            kind =
                IsByLength(config) ? ByLength
                : present.Kind != "default" ? present.Kind
                : config.ModelType == "phi3" ? "longrope"
                : "yarn";
        if (!Kinds.Contains(kind) && kind != ByLength && kind != present.Kind)
            throw new ConfigurationException(
                $"rope-scaling is '{kind}', which is unknown. Use auto, {string.Join(", ", Kinds)} or {ByLength}."
            );
        if (context <= GetCurrentContext(config) && factor is null)
            return config;
        if (kind == "default")
            return config with { MaxPositions = context };
        if (kind == ByLength)
            return ExtendByLength(config, factor, context);
        if (present.Alpha is { } alpha && kind == present.Kind)
            return config with
            {
                RopeScaling = present with { Alpha = alpha * (factor ?? Math.Ceiling((double)context / GetCurrentContext(config))) },
                MaxPositions = context,
            };
        if (kind == "longrope" && present.Kind == "longrope")
            throw new ConfigurationException(
                $"Cannot extend this model beyond {GetCurrentContext(config)} tokens because its LongRoPE divisors were searched "
                    + "for that context, and no rule gives those of a longer one. Use a context up to that length, or a model of the "
                    + "family without rope_scaling."
            );
        if (present.Kind != "default" && present.Kind != kind)
            throw new ConfigurationException(
                $"Cannot use rope-scaling {kind} because the model already has '{present.Kind}' scaling (factor {present.Factor}), "
                    + $"and config.json can hold only one kind. Use auto or {present.Kind}."
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
            // The same divisors at every length: a model that was trained at the new context knows only these.
            var divisors = Enumerable.Repeat(scaling.Factor, config.RotarySize / 2).ToArray();
            scaling = scaling with { Factor = 1, ShortFactors = divisors, LongFactors = divisors };
        }
        if (kind == "llama3" && present.Kind != "llama3")
            scaling = scaling with { LowFrequencyFactor = 1, HighFrequencyFactor = 4 };
        // Where dynamic scaling begins, transformers reads from max_position_embeddings.
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

    private static bool NeedsNoScaling(ModelConfig config) =>
        config.Layers.Any(l => l.Rotation == LayerRotation.None)
        && config.Layers.Where(l => l.Rotation == LayerRotation.Main).All(l => l.Window <= GetOriginalContext(config));

    private static bool IsByLength(ModelConfig config) =>
        config.RopeScaling is { Kind: "longrope", AttentionFactor: 1, ShortFactors: { } divisors } && divisors.All(d => d == 1);

    // YaRN's frequencies as LongRoPE's divisors. YaRN's temperature is left out, because LongRoPE's factor on cosine and sine is the same
    // at every length, and short text needs 1.
    private static ModelConfig ExtendByLength(ModelConfig config, double? factor, int context)
    {
        if ((config.RopeScaling.Kind != "default" && !IsByLength(config)) || config.ModelType == "phi3")
            throw new ConfigurationException(
                $"Cannot use rope-scaling {ByLength}, which keeps the original positions of short text, because "
                    + (
                        config.ModelType == "phi3"
                            ? "Phi-3's config cannot store other positions for long text. Use auto."
                            : $"this model's '{config.RopeScaling.Kind}' scaling has already replaced them. Use auto or "
                                + $"{config.RopeScaling.Kind}."
                    )
            );
        var original = GetOriginalContext(config);
        var stretch = factor ?? Math.Ceiling((double)context / original);
        var yarn = ComputeYarn(
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
                LongFactors = [.. ComputePlain(config.RopeTheta, config.RotarySize).Zip(yarn.Inverse, (plain, slow) => plain / slow)],
            },
        };
    }

    // theta^(-2i/R)
    private static double[] ComputePlain(double theta, int size)
    {
        var inverse = new double[size / 2];
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] = Math.Pow(theta, -2.0 * i / size);
        return inverse;
    }

    // Gemma 4: the first pairs of the whole head rotate, the others stand still.
    private static double[] ComputeProportional(ModelConfig config)
    {
        var inverse = ComputePlain(config.RopeTheta, config.RotarySize);
        var rotated = (int)((config.RopeScaling.RotatedShare ?? 1) * config.RotarySize / 2);
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] = i < rotated ? inverse[i] / config.RopeScaling.Factor : 0;
        return inverse;
    }

    // "NTK-aware" with a base that grows with the length (transformers, _compute_dynamic_ntk_parameters), or a fixed one (Hunyuan).
    private static double[] ComputeDynamic(ModelConfig config, int length)
    {
        if (config.RopeScaling.Alpha is not null)
            return ComputePlain(GetBase(config), config.RotarySize);
        double native = config.MaxPositions;
        double factor = config.RopeScaling.Factor,
            size = config.RotarySize;
        var longest = Math.Max(length, native);
        var theta = config.RopeTheta * Math.Pow(factor * longest / native - (factor - 1), size / (size - 2));
        return ComputePlain(theta, config.RotarySize);
    }

    // YaRN (arXiv 2309.00071), section 3.2 "NTK-by-parts" and 3.3 attention scaling.
    private static RopeFrequencies ComputeYarn(ModelConfig config)
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

        var inverse = ComputePlain(config.RopeTheta, size);
        for (var i = 0; i < inverse.Length; i++)
        {
            var interpolated = Math.Clamp((i - low) / (high - low), 0, 1);
            inverse[i] *= interpolated / scaling.Factor + (1 - interpolated);
        }
        return new(inverse, scaling.AttentionFactor ?? ComputeYarnAttentionFactor(scaling));
    }

    private static double ComputeYarnAttentionFactor(RopeScalingConfig scaling)
    {
        double Scale(double multiplier) => scaling.Factor <= 1 ? 1 : 0.1 * multiplier * Math.Log(scaling.Factor) + 1;
        return scaling is { Mscale: { } m, MscaleAllDim: { } all } ? Scale(m) / Scale(all) : Scale(1);
    }

    // Llama 3.1: low frequencies are interpolated, high ones kept, and those between blended.
    private static double[] ComputeLlama3(ModelConfig config)
    {
        var scaling = config.RopeScaling;
        double low = Require(scaling.LowFrequencyFactor, "low_freq_factor"),
            high = Require(scaling.HighFrequencyFactor, "high_freq_factor");
        double original = Require(scaling.OriginalMaxPositions, "original_max_position_embeddings");
        return Array.ConvertAll(ComputePlain(config.RopeTheta, config.RotarySize), frequency =>
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

    // LongRoPE (arXiv 2402.13753) as in Phi-3: one divisor per frequency, and different ones beyond the original context.
    private static RopeFrequencies ComputeLongRope(ModelConfig config, int length)
    {
        var scaling = config.RopeScaling;
        var original = scaling.OriginalMaxPositions ?? config.MaxPositions;
        var divisors = length > original ? scaling.LongFactors : scaling.ShortFactors;
        var inverse = ComputePlain(config.RopeTheta, config.RotarySize);
        if (divisors is null || divisors.Count != inverse.Length)
            throw new ConfigurationException(
                $"longrope needs short_factor and long_factor with {inverse.Length} numbers each (half of the rotated numbers of a head), "
                    + $"but found {divisors?.Count.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "none"}."
            );
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] /= divisors[i];
        var stretch = scaling.Factor > 1 ? scaling.Factor : (double)config.MaxPositions / original;
        return new(inverse, scaling.AttentionFactor ?? (stretch <= 1 ? 1 : Math.Sqrt(1 + Math.Log(stretch) / Math.Log(original))));
    }

    private static double Require(double? value, string name) =>
        value ?? throw new ConfigurationException($"RoPE scaling needs '{name}'. Set it in rope_scaling of config.json.");
}
