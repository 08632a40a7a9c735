using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a dense Granite <c>config.json</c> (transformers' <c>GraniteConfig</c>), read and written.</summary>
internal static class GraniteConfig
{
    public const string ModelType = "granite";

    private static readonly ShapeRules s_shape = new() { NamesDropout = true };

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
                EmbeddingFactor = fields.ReadPositiveOrNull("embedding_multiplier") ?? 1,
                AttentionScale = fields.ReadPositiveOrNull("attention_multiplier") ?? 1, // in place of 1 / sqrt(K)
                ResidualFactor = fields.ReadPositiveOrNull("residual_multiplier") ?? 1,
                LogitFactor = 1 / (fields.ReadPositiveOrNull("logits_scaling") ?? 1),
            }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "GraniteForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        root["mlp_bias"] = config.MlpBias;
        root["embedding_multiplier"] = CommonConfig.ToJsonNumber(config.EmbeddingFactor);
        root["attention_multiplier"] = CommonConfig.ToJsonNumber(config.AttentionScale ?? 1);
        root["residual_multiplier"] = CommonConfig.ToJsonNumber(config.ResidualFactor);
        root["logits_scaling"] = CommonConfig.ToJsonNumber(1 / config.LogitFactor);
        return root;
    }
}
