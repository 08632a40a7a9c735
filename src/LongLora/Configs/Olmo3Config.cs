using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of an OLMo 3 <c>config.json</c> (transformers' <c>Olmo3Config</c>), read and written.</summary>
internal static class Olmo3Config
{
    public const string ModelType = "olmo3";

    /// <summary>Layers with a window have no scaling.</summary>
    internal static RopeRules Rope { get; } = new() { HasLocal = true };

    public static ModelConfig Read(ConfigFields fields) =>
        RopeConfig.Read(
            fields,
            LayerTypes.ReadWindows(fields, Olmo2Config.ReadShape(fields, ModelType), window: 4096, period: 4, isWindowed =>
                isWindowed ? LayerRotation.Local : LayerRotation.Main
            ),
            Rope
        );

    public static JsonObject Write(ModelConfig config)
    {
        var root = Olmo2Config.WriteShape(config, "Olmo3ForCausalLM");
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
        return root;
    }
}
