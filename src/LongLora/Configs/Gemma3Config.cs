using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a Gemma 3 text <c>config.json</c> (transformers' <c>Gemma3TextConfig</c>), read and written. Published files leave out
/// fields with transformers' default.
/// </summary>
internal static class Gemma3Config
{
    public const string ModelType = "gemma3_text";

    private static readonly ShapeRules s_shape = new()
    {
        ActivationName = "hidden_activation",
        Activations = ["gelu_pytorch_tanh", "gelu"],
        TiedEmbeddings = true,
        HiddenSize = 2304,
        IntermediateSize = 9216,
        LayerCount = 26,
        HeadCount = 8,
        KeyValueHeadCount = 4,
        HeadSize = 256,
        VocabularySize = 262208,
        MaxPositions = 131072,
    };

    internal static RopeRules Rope { get; } =
        new()
        {
            Theta = 1000000,
            HasLocal = true,
            LocalThetaName = "rope_local_base_freq",
        };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = Gemma2Config.ReadScores(fields, LlamaConfig.ReadShape(fields, ModelType, s_shape), scoreCap: null, logitCap: null);
        if (config.EosTokenIds.Count == 0)
            config = config with { EosTokenIds = [1] };
        var period = fields.ReadIntegerOrNull("sliding_window_pattern") ?? fields.ReadIntegerOrNull("_sliding_window_pattern") ?? 6;
        fields.MarkKnown("_sliding_window_pattern");
        config = config with { BosTokenId = config.BosTokenId ?? 2 };
        config = RopeConfig.Read(
            fields,
            LayerTypes.ReadWindows(fields, config, window: 4096, period, isWindowed =>
                isWindowed ? LayerRotation.Local : LayerRotation.Main
            ),
            Rope
        );
        // The context in these files is the one after linear scaling. In other files it is the one before.
        return config.RopeScaling is { Kind: "linear", OriginalMaxPositions: null } linear
            ? config with
            {
                RopeScaling = linear with { OriginalMaxPositions = (int)(config.MaxPositions / linear.Factor) },
            }
            : config;
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Gemma3ForCausalLM", s_shape);
        Gemma2Config.WriteScores(root, config);
        return root;
    }
}
