using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a GLM <c>config.json</c> (transformers' <c>GlmConfig</c> and <c>Glm4Config</c>), read and written.
/// </summary>
internal static class GlmConfig
{
    public const string Glm = "glm",
        Glm4 = "glm4";

    private static readonly ShapeRules s_shape = new() { HeadSize = 128, Epsilon = 1.5625e-07 };

    public static ModelConfig Read(ConfigFields fields, string modelType)
    {
        var config = LlamaConfig.ReadShape(fields, modelType, s_shape);
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? true,
                AttentionOutputBias = false,
                InterleavedRotation = true,
            },
            Rope
        );
    }

    internal static RopeRules Rope { get; } = new() { Partial = 0.5 };

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, config.ModelType == Glm ? "GlmForCausalLM" : "Glm4ForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        root["partial_rotary_factor"] = CommonConfig.ToJsonNumber((double)config.RotarySize / config.HeadSize);
        return root;
    }
}
