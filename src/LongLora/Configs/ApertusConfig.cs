using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of an Apertus <c>config.json</c> (transformers' <c>ApertusConfig</c>), read and written.</summary>
internal static class ApertusConfig
{
    public const string ModelType = "apertus";

    private static readonly ShapeRules s_shape = new() { Activations = ["xielu"], Epsilon = 1e-5 };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        // Fields of the published files that transformers does not have.
        fields.RequireFixed("qk_norm", true, "queries and keys have norms");
        fields.RequireFixed("post_norm", false, "norms come before attention and MLP");
        fields.RequireFixed("mlp_bias", false, "the MLP has no biases");
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            },
            new RopeRules { Theta = 12000000 }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "ApertusForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        return root;
    }
}
