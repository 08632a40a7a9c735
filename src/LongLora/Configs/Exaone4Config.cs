using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of an EXAONE 4 <c>config.json</c> (transformers' <c>Exaone4Config</c>), read and written.</summary>
internal static class Exaone4Config
{
    public const string ModelType = "exaone4";

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, new ShapeRules { Epsilon = 1e-5 });
        config = config with { MaxPositions = fields.ReadInteger("max_position_embeddings") };
        // The file may have a text such as LLLG beside layer_types, with the same meaning.
        var period = 4;
        if (fields.Has("layer_types"))
            fields.MarkKnown("sliding_window_pattern");
        else
            period = fields.ReadIntegerOrNull("sliding_window_pattern", 0) ?? 4;
        var hasWindows = fields.ReadIntegerOrNull("sliding_window") is not null || !fields.Contains("sliding_window");
        return RopeConfig.Read(
            fields,
            LayerTypes.ReadWindows(fields, config, window: 4096, period, isWindowed =>
                hasWindows && !isWindowed ? LayerRotation.None : LayerRotation.Main
            )
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Exaone4ForCausalLM");
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
        return root;
    }
}
