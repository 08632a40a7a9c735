using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of an Arcee <c>config.json</c> (transformers' <c>ArceeConfig</c>), read and written.</summary>
internal static class ArceeConfig
{
    public const string ModelType = "arcee";

    private static readonly ShapeRules s_shape = new() { Activations = ["relu2"], Epsilon = 1e-5 };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
                MlpBias = fields.ReadFlagOrNull("mlp_bias") ?? false,
            }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "ArceeForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        root["mlp_bias"] = config.MlpBias;
        return root;
    }
}
