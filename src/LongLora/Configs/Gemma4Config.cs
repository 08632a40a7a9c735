using System.Globalization;
using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a Gemma 4 text <c>config.json</c> (transformers' <c>Gemma4TextConfig</c>), read and written. Layers without a window have
/// heads of another size: <c>global_head_dim</c> in published files, <c>per_layer_config</c> in those that transformers 5 writes.
/// </summary>
internal static class Gemma4Config
{
    public const string ModelType = "gemma4_text";

    private const int GlobalHeadSize = 512;

    private static readonly ShapeRules s_shape = new()
    {
        ActivationName = "hidden_activation",
        Activations = ["gelu_pytorch_tanh"],
        TiedEmbeddings = true,
        HiddenSize = 2304,
        IntermediateSize = 9216,
        LayerCount = 30,
        HeadCount = 8,
        KeyValueHeadCount = 4,
        HeadSize = 256,
        VocabularySize = 262144,
        MaxPositions = 131072,
    };

    internal static RopeRules Rope { get; } =
        new()
        {
            HasLocal = true,
            HasProportional = true,
            IsModern = true,
        };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        fields.ReadChoice("use_bidirectional_attention", "vision", "vision"); // of images alone
        config = LayerTypes.ReadWindows(fields, config, window: 512, period: 6, isWindowed =>
            isWindowed ? LayerRotation.Local : LayerRotation.Main
        );
        fields.Require(config.GetLayer(config.LayerCount - 1).Window is null, "layer_types", "the last layer must be full_attention");
        config = config with
        {
            BosTokenId = config.BosTokenId ?? 2,
            EosTokenIds = config.EosTokenIds.Count == 0 ? [1] : config.EosTokenIds,
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            EmbeddingFactor = Math.Sqrt(config.HiddenSize),
            AttentionScale = 1,
            LogitCap = fields.ReadPositiveOrNull("final_logit_softcapping"),
            TokenInputs = ReadTokenInputs(fields),
            Experts = ReadExperts(fields),
        };
        config = ReadLayers(fields, config);
        var local = config.Layers.FirstOrDefault(l => l.Window is not null)?.HeadSize ?? config.HeadSize;
        fields.Require(fields.Has("rope_parameters"), "rope_parameters", "it must say the positions of both kinds of layers");
        return RopeConfig.Read(fields, config, Rope with { LocalHeadSize = local });
    }

    private static TokenInputConfig? ReadTokenInputs(ConfigFields fields)
    {
        var vocabulary = fields.ReadIntegerOrNull("vocab_size_per_layer_input") ?? 262144;
        var size = fields.ReadIntegerOrNull("hidden_size_per_layer_input", minimum: 0) ?? 256;
        return size == 0 ? null : new() { Size = size, VocabularySize = vocabulary };
    }

    private static ExpertConfig? ReadExperts(ConfigFields fields)
    {
        var (count, perToken, size) = (
            fields.ReadCountOrNull("num_experts"),
            fields.ReadIntegerOrNull("top_k_experts"),
            fields.ReadIntegerOrNull("moe_intermediate_size")
        );
        if (fields.ReadFlagOrNull("enable_moe_block") is not true)
            return null;
        var experts = new ExpertConfig
        {
            Count = count ?? fields.ReadCount("num_experts"),
            PerToken = perToken ?? fields.ReadInteger("top_k_experts"),
            Size = size ?? fields.ReadInteger("moe_intermediate_size"),
        };
        fields.Require(experts.PerToken <= experts.Count, "top_k_experts", $"there are {experts.Count} experts");
        return experts;
    }

    // Heads of the layers without a window, values that are keys, and the last layers, which look at the keys of layers before them.
    private static ModelConfig ReadLayers(ConfigFields fields, ModelConfig config)
    {
        var valuesAreKeys = fields.ReadFlagOrNull("attention_k_eq_v") ?? false;
        var isWide = fields.ReadFlagOrNull("use_double_wide_mlp") ?? false;
        var shared = fields.ReadIntegerOrNull("num_kv_shared_layers", minimum: 0) ?? 0;
        var first = config.LayerCount - shared;
        fields.Require(first > 0, "num_kv_shared_layers", $"there are {config.LayerCount} layers");
        var (size, heads) = ReadGlobalHeads(fields, config, valuesAreKeys);
        var windows = config.Layers.Select(l => l.Window).ToList();
        LayerPlan Change(LayerPlan plan, int layer)
        {
            var source = layer < first ? -1 : windows.FindLastIndex(first - 1, w => w == plan.Window);
            fields.Require(layer < first || source >= 0, "num_kv_shared_layers", "no layer of each kind has keys of its own");
            var own = plan.Window is not null
                ? plan
                : plan with
                {
                    HeadSize = size,
                    KeyValueHeadCount = heads,
                    ValuesAreKeys = valuesAreKeys,
                };
            return own with
            {
                KeysOf = layer < first ? null : source,
                HasExperts = config.Experts is not null,
                IntermediateSize = isWide && layer >= first ? 2 * plan.IntermediateSize : plan.IntermediateSize,
            };
        }
        return config with { HeadSize = size, Layers = [.. config.Layers.Select(Change)] };
    }

    private static (int Size, int Heads) ReadGlobalHeads(ConfigFields fields, ModelConfig config, bool valuesAreKeys)
    {
        var size = fields.ReadIntegerOrNull("global_head_dim") ?? GlobalHeadSize;
        var given = fields.ReadIntegerOrNull("num_global_key_value_heads");
        var heads = valuesAreKeys && given is { } own ? own : config.KeyValueHeadCount;
        if (fields.ReadObjectOrNull("per_layer_config") is { } layers)
        {
            var changed = Enumerable
                .Range(0, config.LayerCount)
                .Where(i => config.GetLayer(i).Window is null)
                .Select(i =>
                {
                    var layer = layers.ReadObjectOrNull(i.ToString(CultureInfo.InvariantCulture));
                    var pair = (
                        layer?.ReadIntegerOrNull("head_dim") ?? config.HeadSize,
                        layer?.ReadIntegerOrNull("num_key_value_heads") ?? config.KeyValueHeadCount
                    );
                    layer?.RefuseOthers("a layer");
                    return pair;
                })
                .Distinct()
                .ToList();
            layers.RefuseOthers("'per_layer_config' of the layers without a window");
            fields.Require(changed.Count == 1, "per_layer_config", "the layers without a window must be alike");
            (size, heads) = changed[0];
        }
        fields.Require(size % 2 == 0, "global_head_dim", $"it must be even because RoPE rotates pairs of numbers, and a head has {size}");
        fields.Require(
            config.HeadCount % heads == 0 && (valuesAreKeys || heads == config.KeyValueHeadCount),
            "num_global_key_value_heads",
            $"it must divide num_attention_heads, {config.HeadCount}, and differ only with attention_k_eq_v"
        );
        return (size, heads);
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Gemma4ForCausalLM", s_shape);
        var (full, windowed) = (config.Layers.First(l => l.Window is null), config.Layers.FirstOrDefault(l => l.Window is not null));
        var shared = config.Layers.Count(l => l.KeysOf is not null);
        root["attention_bias"] = config.AttentionBias;
        root["head_dim"] = (windowed ?? full).HeadSize;
        root["global_head_dim"] = full.HeadSize;
        root["attention_k_eq_v"] = full.ValuesAreKeys;
        root["num_global_key_value_heads"] = full.KeyValueHeadCount == config.KeyValueHeadCount ? null : (JsonNode)full.KeyValueHeadCount;
        root["num_kv_shared_layers"] = shared;
        root["use_double_wide_mlp"] = shared > 0 && config.Layers[^1].IntermediateSize > config.IntermediateSize;
        root["hidden_size_per_layer_input"] = config.TokenInputs?.Size ?? 0;
        root["vocab_size_per_layer_input"] = config.TokenInputs?.VocabularySize ?? config.VocabularySize;
        root["enable_moe_block"] = config.Experts is not null;
        root["num_experts"] = config.Experts?.Count;
        root["top_k_experts"] = config.Experts?.PerToken;
        root["moe_intermediate_size"] = config.Experts?.Size;
        root["final_logit_softcapping"] = config.LogitCap is { } cap ? CommonConfig.ToJsonNumber(cap) : null;
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
        root["rope_parameters"] = new JsonObject();
        return root;
    }
}
