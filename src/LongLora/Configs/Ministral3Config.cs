using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Ministral 3 text <c>config.json</c> (transformers' <c>Ministral3Config</c>), read and written.</summary>
internal static class Ministral3Config
{
    public const string ModelType = "ministral3";

    internal static RopeRules Rope { get; } =
        new()
        {
            Theta = 1000000,
            QueriesGrow = true,
            IsModern = true,
        };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, new ShapeRules { Epsilon = 1e-5 });
        fields.ReadInteger("num_key_value_heads");
        // transformers' default is YaRN with the numbers of one model.
        fields.Require(fields.Has("rope_parameters") || fields.Has("rope_scaling"), "rope_parameters", "the family requires it");
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                SlidingWindow = fields.ReadIntegerOrNull("sliding_window"),
            },
            Rope
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Ministral3ForCausalLM");
        root["sliding_window"] = config.SlidingWindow;
        root["rope_parameters"] = new JsonObject();
        return root;
    }
}
