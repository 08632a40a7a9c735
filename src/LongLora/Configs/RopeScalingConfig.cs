namespace LongLora.Configs;

/// <summary>How rotary positions are rescaled: the parameters of all kinds, as in transformers' <c>rope_scaling</c>.</summary>
public sealed record RopeScalingConfig
{
    /// <summary>No rescaling.</summary>
    public static RopeScalingConfig None { get; } = new();

    /// <summary>
    /// One of <c>default</c>, <c>linear</c>, <c>dynamic</c>, <c>yarn</c>, <c>llama3</c>, <c>longrope</c>, <c>proportional</c>
    /// (<c>rope_type</c>, formerly <c>type</c>; <c>su</c> is read as <c>longrope</c>).
    /// </summary>
    public string Kind { get; init; } = "default";

    /// <summary>How many times longer the new context is than <see cref="OriginalMaxPositions"/> (<c>factor</c>).</summary>
    public double Factor { get; init; } = 1;

    /// <summary>
    /// The context in tokens before rescaling (<c>original_max_position_embeddings</c>); null if the file does not give it and
    /// <c>max_position_embeddings</c> applies.
    /// </summary>
    public int? OriginalMaxPositions { get; init; }

    /// <summary>YaRN and LongRoPE: factor on cosine and sine (<c>attention_factor</c>); null for the published formula.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>YaRN: rotations above which a dimension is extrapolated (<c>beta_fast</c>, default 32).</summary>
    public double? BetaFast { get; init; }

    /// <summary>YaRN: rotations below which a dimension is interpolated (<c>beta_slow</c>, default 1).</summary>
    public double? BetaSlow { get; init; }

    /// <summary>YaRN: multiplier of the logarithm in the attention factor (<c>mscale</c>).</summary>
    public double? Mscale { get; init; }

    /// <summary>YaRN: as <see cref="Mscale"/>, over all dimensions (<c>mscale_all_dim</c>).</summary>
    public double? MscaleAllDim { get; init; }

    /// <summary>YaRN: whether the correction range is rounded to whole dimensions (<c>truncate</c>, default true).</summary>
    public bool? Truncate { get; init; }

    /// <summary>Llama 3: <c>low_freq_factor</c>.</summary>
    public double? LowFrequencyFactor { get; init; }

    /// <summary>Llama 3: <c>high_freq_factor</c>.</summary>
    public double? HighFrequencyFactor { get; init; }

    /// <summary>LongRoPE: one divisor per frequency for texts up to the original context (<c>short_factor</c>).</summary>
    public IReadOnlyList<double>? ShortFactors { get; init; }

    /// <summary>LongRoPE: one divisor per frequency for longer texts (<c>long_factor</c>).</summary>
    public IReadOnlyList<double>? LongFactors { get; init; }

    /// <summary>
    /// dynamic: fixes the base at theta times this number to the power R / (R - 2), whatever the length (<c>alpha</c>; Hunyuan).
    /// </summary>
    public double? Alpha { get; init; }

    /// <summary>
    /// b, where the query at position p is multiplied by 1 + b ln(1 + floor(p / original context)) (<c>llama_4_scaling_beta</c>;
    /// Ministral 3).
    /// </summary>
    public double? QueryGrowth { get; init; }

    /// <summary>
    /// proportional: the share of a head's pairs that rotate, the first ones, with frequencies counted over the whole head
    /// (<c>partial_rotary_factor</c>; Gemma 4).
    /// </summary>
    public double? RotatedShare { get; init; }
}
