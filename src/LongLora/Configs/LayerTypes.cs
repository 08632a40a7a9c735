using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The field <c>layer_types</c>, and its equivalents in older files.</summary>
internal static class LayerTypes
{
    public const string Full = "full_attention",
        Sliding = "sliding_attention",
        Linear = "linear_attention";

    /// <summary>The kind of each layer.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="layers">Number of layers.</param>
    /// <param name="absent">The kind of a layer if the file has no list.</param>
    /// <param name="kinds">The kinds that the family has.</param>
    public static IReadOnlyList<string> Read(ConfigFields fields, int layers, Func<int, string> absent, params string[] kinds)
    {
        var read = fields.ReadTexts("layer_types");
        if (read.Count == 0)
            return [.. Enumerable.Range(0, layers).Select(absent)];
        fields.Require(read.Count == layers, "layer_types", $"it must have {layers} entries, one per layer");
        fields.Require(read.All(kinds.Contains), "layer_types", $"supported: {string.Join(", ", kinds)}");
        return read;
    }

    /// <summary>A plan in which layers of the kind <see cref="Sliding"/> have the window that the file gives.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="config">What is known about the model so far.</param>
    /// <param name="window">The window if the file gives none; null if the file must give it, 0 for none.</param>
    /// <param name="period">If the file has no list, every layer with this period looks at everything; 0 for every layer.</param>
    /// <param name="rotation">Positions of a layer, depending on whether it has a window; null for the model's in every layer.</param>
    public static ModelConfig ReadWindows(
        ConfigFields fields,
        ModelConfig config,
        int? window,
        int period,
        Func<bool, LayerRotation>? rotation = null
    )
    {
        var size = fields.ReadIntegerOrNull("sliding_window") ?? (fields.Contains("sliding_window") ? 0 : window);
        var kinds = Read(
            fields,
            config.LayerCount,
            layer => size is 0 || period == 0 || (layer + 1) % period == 0 ? Full : Sliding,
            Full,
            Sliding
        );
        fields.Require(!kinds.Contains(Sliding) || size is > 0, "sliding_window", $"layers of the kind {Sliding} require it");
        config = config with { SlidingWindow = kinds.Contains(Sliding) ? size : null };
        return config.PlanLayers(
            (layer, plan) =>
                plan with
                {
                    Window = kinds[layer] == Sliding ? size : null,
                    Rotation = rotation?.Invoke(kinds[layer] == Sliding) ?? LayerRotation.Main,
                }
        );
    }

    /// <summary>The list for a config.</summary>
    public static JsonArray Write(ModelConfig config) =>
        new([
            .. Enumerable
                .Range(0, config.LayerCount)
                .Select(config.GetLayer)
                .Select(layer =>
                    (JsonNode)(
                        layer.IsLinear ? Linear
                        : layer.Window is null ? Full
                        : Sliding
                    )
                ),
        ]);
}
