using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a Qwen2 or Qwen3 <c>config.json</c> (transformers' <c>Qwen2Config</c> and <c>Qwen3Config</c>), read and written.
/// </summary>
internal static class QwenConfig
{
    public const string Qwen2 = "qwen2",
        Qwen3 = "qwen3";

    private const string Full = "full_attention",
        Sliding = "sliding_attention";

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
        var layers = fields.ReadTexts("layer_types");
        fields.Require(
            layers.Count == 0 || layers.Count == config.LayerCount,
            "layer_types",
            $"it must have {config.LayerCount} entries, one per layer"
        );
        fields.Require(layers.All(l => l is Full or Sliding), "layer_types", $"supported: {Full}, {Sliding}");
        if (!isUsed || window is null)
        {
            fields.Require(!layers.Contains(Sliding), "layer_types", $"{Sliding} requires use_sliding_window and sliding_window");
            return config;
        }
        var start =
            layers.Count > 0 ? layers.TakeWhile(l => l == Full).Count() : first ?? throw fields.MakeMissingError("max_window_layers");
        fields.Require(!layers.Skip(start).Contains(Full), "layer_types", "layers with a window must come after those without");
        return config with { SlidingWindow = window, FirstWindowedLayer = start };
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, config.ModelType == Qwen2 ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM");
        if (config.ModelType == Qwen3)
            root["attention_bias"] = config.AttentionBias;
        root["use_sliding_window"] = config.SlidingWindow is not null;
        root["sliding_window"] = config.SlidingWindow;
        root["max_window_layers"] = config.SlidingWindow is null ? config.LayerCount : config.FirstWindowedLayer;
        return root;
    }
}
