namespace LongLora.Configs;

/// <summary>What a family's rotary fields may contain in addition to theta and the kinds that all families have.</summary>
internal sealed record RopeRules
{
    /// <summary>Base of the frequencies if the file gives none.</summary>
    public double Theta { get; init; } = 10000;

    /// <summary>Name of the field for the share of each head that is rotated.</summary>
    public string PartialName { get; init; } = "partial_rotary_factor";

    /// <summary>The share if the file does not give it; null if the family always rotates whole heads.</summary>
    public double? Partial { get; init; }

    /// <summary>Whether layers with a window have their own rotary positions (<see cref="ModelConfig.LocalRope"/>).</summary>
    public bool HasLocal { get; init; }

    /// <summary>
    /// Name of the field for the base of those layers outside of <c>rope_parameters</c>; null if they have the same base.
    /// </summary>
    public string? LocalThetaName { get; init; }

    /// <summary>Base of those layers if the file gives none.</summary>
    public double LocalTheta { get; init; } = 10000;

    /// <summary>Size of a head in those layers; null for the same as in the other layers.</summary>
    public int? LocalHeadSize { get; init; }

    /// <summary>Whether a new file has the fields in <c>rope_parameters</c>: true for families that transformers 4 does not have.</summary>
    public bool IsModern { get; init; }

    /// <summary>Whether dynamic scaling may have an <c>alpha</c>.</summary>
    public bool HasAlpha { get; init; }

    /// <summary>Whether queries may grow with their position (<c>llama_4_scaling_beta</c>).</summary>
    public bool QueriesGrow { get; init; }

    /// <summary>Whether the family has the kind <c>proportional</c>.</summary>
    public bool HasProportional { get; init; }

    /// <summary>Fields that do not affect text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The rules of a family for writing, the same as for reading.</summary>
    public static RopeRules Of(ModelConfig config) =>
        config.ModelType switch
        {
            Phi3Config.ModelType => new() { Partial = 1 },
            GptNeoXConfig.ModelType => new() { PartialName = "rotary_pct", Partial = 0.25 },
            Gemma3Config.ModelType => Gemma3Config.Rope,
            Olmo3Config.ModelType => Olmo3Config.Rope,
            Ministral3Config.ModelType => Ministral3Config.Rope,
            GlmConfig.Glm or GlmConfig.Glm4 => GlmConfig.Rope,
            Qwen35Config.ModelType => Qwen35Config.Rope,
            _ => new(),
        };
}
