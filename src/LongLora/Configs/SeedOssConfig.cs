using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Seed-OSS <c>config.json</c> (transformers' <c>SeedOssConfig</c>), read and written.</summary>
internal static class SeedOssConfig
{
    public const string ModelType = "seed_oss";

    private static readonly ShapeRules s_shape = new() { HeadSize = 128, NamesDropout = true };

    public static ModelConfig Read(ConfigFields fields)
    {
        fields.MarkKnown("pretraining_tp"); // transformers ignores it
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? true,
                AttentionOutputBias = fields.ReadFlagOrNull("attention_out_bias") ?? false,
                MlpBias = fields.ReadFlagOrNull("mlp_bias") ?? false,
            }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "SeedOssForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        root["attention_out_bias"] = config.AttentionOutputBias ?? config.AttentionBias;
        root["mlp_bias"] = config.MlpBias;
        return root;
    }
}
