using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of an OLMo 2 <c>config.json</c> (transformers' <c>Olmo2Config</c>), read and written.</summary>
internal static class Olmo2Config
{
    public const string ModelType = "olmo2";

    public static ModelConfig Read(ConfigFields fields) => RopeConfig.Read(fields, ReadShape(fields, ModelType));

    /// <summary>The fields that OLMo 3 also has.</summary>
    internal static ModelConfig ReadShape(ConfigFields fields, string modelType)
    {
        var config = LlamaConfig.ReadShape(fields, modelType, new ShapeRules { Epsilon = 1e-5 });
        fields.Refuse("clip_qkv", "clipping of queries, keys and values is not supported");
        return config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
        };
    }

    public static JsonObject Write(ModelConfig config) => WriteShape(config, "Olmo2ForCausalLM");

    internal static JsonObject WriteShape(ModelConfig config, string architecture)
    {
        var root = LlamaConfig.WriteShape(config, architecture);
        root["attention_bias"] = config.AttentionBias;
        return root;
    }
}
