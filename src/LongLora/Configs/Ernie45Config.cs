using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a dense ERNIE 4.5 <c>config.json</c> (transformers' <c>Ernie4_5Config</c>), read and written.</summary>
internal static class Ernie45Config
{
    public const string ModelType = "ernie4_5";

    private static readonly ShapeRules s_shape = new()
    {
        Epsilon = 1e-5,
        TiedEmbeddings = true,
        HeadSize = 128,
    };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        var bias = fields.ReadFlagOrNull("use_bias") ?? false;
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = bias,
                MlpBias = bias,
                InterleavedRotation = true,
            },
            new RopeRules { Theta = 500000 }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Ernie4_5ForCausalLM", s_shape);
        root["use_bias"] = config.AttentionBias;
        return root;
    }
}
