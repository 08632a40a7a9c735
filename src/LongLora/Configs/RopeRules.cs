namespace LongLora.Configs;

/// <summary>What a family's rotary fields may hold beside theta and the kinds that all families have.</summary>
internal sealed record RopeRules
{
    /// <summary>Base of the frequencies where the file names none.</summary>
    public double Theta { get; init; } = 10000;

    /// <summary>Name of the share of each head that turns.</summary>
    public string PartialName { get; init; } = "partial_rotary_factor";

    /// <summary>The share where the file does not say; null where heads always turn whole.</summary>
    public double? Partial { get; init; }

    /// <summary>Whether layers with a window have rotary positions of their own (<see cref="ModelConfig.LocalRope"/>).</summary>
    public bool HasLocal { get; init; }

    /// <summary>Name of the base of those layers outside of <c>rope_parameters</c>; null where they have the same base.</summary>
    public string? LocalThetaName { get; init; }

    /// <summary>Base of those layers where the file names none.</summary>
    public double LocalTheta { get; init; } = 10000;

    /// <summary>Size of a head in those layers; null for the same as in the others.</summary>
    public int? LocalHeadSize { get; init; }

    /// <summary>Whether the fields stand in <c>rope_parameters</c> in a new file: families that transformers 4 does not have.</summary>
    public bool IsModern { get; init; }

    /// <summary>Whether dynamic scaling may have an <c>alpha</c>.</summary>
    public bool HasAlpha { get; init; }

    /// <summary>Whether queries may grow with their position (<c>llama_4_scaling_beta</c>).</summary>
    public bool QueriesGrow { get; init; }

    /// <summary>Whether the kind <c>proportional</c> is one of the family's.</summary>
    public bool HasProportional { get; init; }

    /// <summary>Fields that say nothing of text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The rules of a family, for writing: the same that its reader uses.</summary>
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
