using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a Qwen2 or Qwen3 <c>config.json</c> (transformers' <c>Qwen2Config</c> and <c>Qwen3Config</c>), read and written.
/// </summary>
internal static class QwenConfig
{
    public const string Qwen2 = "qwen2",
        Qwen3 = "qwen3";

    public static ModelConfig Read(ConfigFields fields, string modelType)
    {
        var config = LlamaConfig.ReadShape(fields, modelType);
        fields.ReadInteger("num_key_value_heads");
        fields.RequireFixed("use_mrope", false, "a position must be a single number");
        config = config with { MaxPositions = fields.ReadInteger("max_position_embeddings"), AttentionBias = modelType == Qwen2 };
        if (modelType == Qwen3)
        {
            fields.ReadInteger("head_dim"); // transformers' default is 128 for every width
            config = config with { AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false };
        }
        return RopeConfig.Read(fields, ReadWindow(fields, config));
    }

    // The window applies only if use_sliding_window is true, from layer max_window_layers on. Newer files list the layers as well.
    private static ModelConfig ReadWindow(ConfigFields fields, ModelConfig config)
    {
        var isUsed = fields.ReadFlagOrNull("use_sliding_window") ?? false;
        var window = fields.ReadIntegerOrNull("sliding_window");
        var first = fields.ReadIntegerOrNull("max_window_layers", minimum: 0);
        var layers = fields.Has("layer_types")
            ? LayerTypes.Read(fields, config.LayerCount, _ => LayerTypes.Full, LayerTypes.Full, LayerTypes.Sliding)
            : [];
        if (!isUsed || window is null)
        {
            fields.Require(
                !layers.Contains(LayerTypes.Sliding),
                "layer_types",
                $"{LayerTypes.Sliding} requires use_sliding_window and sliding_window"
            );
            return config;
        }
        var start =
            layers.Count > 0
                ? layers.TakeWhile(l => l == LayerTypes.Full).Count()
                : first ?? throw fields.MakeMissingError("max_window_layers");
        config = config with { SlidingWindow = window, FirstWindowedLayer = start };
        return layers.Skip(start).Contains(LayerTypes.Full)
            ? config.PlanLayers((layer, plan) => plan with { Window = layers[layer] == LayerTypes.Sliding ? window : null })
            : config;
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, config.ModelType == Qwen2 ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM");
        if (config.ModelType == Qwen3)
            root["attention_bias"] = config.AttentionBias;
        root["use_sliding_window"] = config.SlidingWindow is not null;
        root["sliding_window"] = config.SlidingWindow;
        root["max_window_layers"] = config.SlidingWindow is null ? config.LayerCount : config.FirstWindowedLayer;
        if (config.Layers.Count > 0)
            root["layer_types"] = LayerTypes.Write(config);
        return root;
    }
}
