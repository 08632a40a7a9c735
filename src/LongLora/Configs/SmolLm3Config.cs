using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a SmolLM3 <c>config.json</c> (transformers' <c>SmolLM3Config</c>), read and written.</summary>
internal static class SmolLm3Config
{
    public const string ModelType = "smollm3";

    private static readonly ShapeRules s_shape = new() { TiedEmbeddings = true };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        fields.MarkKnown("pretraining_tp", "max_window_layers"); // transformers ignores both
        config = config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            MlpBias = fields.ReadFlagOrNull("mlp_bias") ?? false,
        };
        // A 1 means a layer with positions, in spite of the name.
        var interval = fields.ReadIntegerOrNull("no_rope_layer_interval") ?? 4;
        var rotated = fields.ReadIntegersOrNull("no_rope_layers", config.LayerCount, 0)
            ?? [.. Enumerable.Range(0, config.LayerCount).Select(i => (i + 1) % interval == 0 ? 0 : 1)];
        var window = fields.ReadFlagOrNull("use_sliding_window") ?? false ? fields.ReadIntegerOrNull("sliding_window") : null;
        fields.MarkKnown("sliding_window");
        var kinds = LayerTypes.Read(
            fields,
            config.LayerCount,
            layer => window is not null && rotated[layer] == 0 ? LayerTypes.Sliding : LayerTypes.Full,
            LayerTypes.Full,
            LayerTypes.Sliding
        );
        config = (config with { SlidingWindow = kinds.Contains(LayerTypes.Sliding) ? window : null }).PlanLayers(
            (layer, plan) =>
                plan with
                {
                    Window = kinds[layer] == LayerTypes.Sliding ? window : null,
                    Rotation = rotated[layer] == 0 ? LayerRotation.None : LayerRotation.Main,
                }
        );
        return RopeConfig.Read(fields, config, new RopeRules { Theta = 2000000 });
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "SmolLM3ForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        root["mlp_bias"] = config.MlpBias;
        root["no_rope_layers"] = new JsonArray([
            .. Enumerable.Range(0, config.LayerCount).Select(i => (JsonNode)(config.GetLayer(i).Rotation == LayerRotation.None ? 0 : 1)),
        ]);
        root["layer_types"] = LayerTypes.Write(config);
        root["use_sliding_window"] = config.SlidingWindow is not null;
        root["sliding_window"] = config.SlidingWindow;
        return root;
    }
}
