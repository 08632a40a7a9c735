using LongLora.Configs;

namespace LongLora.Checkpoints;

/// <summary>What families have besides their tensors: the keys of it in a file, and its part of the config.</summary>
internal static class GgufTraits
{
    public static GgufTrait Interleaved { get; } = GgufTrait.Fact(config => config with { InterleavedRotation = true });

    public static GgufTrait InputBias { get; } = GgufTrait.Fact(config => config with { AttentionOutputBias = false });

    public static GgufTrait WholeWidth { get; } =
        new(
            _ => [],
            (keys, config) =>
                config.HeadCount * config.HeadSize == config.HiddenSize
                    ? config
                    : throw keys.Bad(
                        keys.Prefix + "attention.key_length",
                        config.HeadSize,
                        $"engines want the {config.HeadCount} heads to be as wide as the model, {config.HiddenSize}"
                    )
        );

    // Engines compute full attention in the llama architecture; its files say the window all the same.
    public static GgufTrait UnreadWindow { get; } =
        new(
            _ => [],
            (keys, config) =>
                config with
                {
                    SlidingWindow = keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) is > 0 and var w ? w : null,
                }
        );

    public static GgufTrait Gelu { get; } =
        GgufTrait.Fact(config => config with { Activation = "gelu_pytorch_tanh", EmbeddingFactor = Math.Sqrt(config.HiddenSize) });

    public static GgufTrait LogitCap { get; } =
        GgufTrait.Number(
            "final_logit_softcapping",
            config => config.LogitCap,
            (config, cap) => config with { LogitCap = cap > 0 ? cap : null }
        );

    public static bool HasWindow(GgufMetadata keys) => keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) > 0;

    public static bool HasExperts(GgufMetadata keys) => keys.IntegerOrNull(keys.Prefix + "expert_count") > 0;

    public static GgufTrait Mixture(bool hasSize) =>
        new(
            config =>
            {
                var experts = config.Experts!;
                List<(string, object)> keys = [("expert_count", (uint)experts.Count), ("expert_used_count", (uint)experts.PerToken)];
                if (hasSize)
                    keys.Add(("expert_feed_forward_length", (uint)experts.Size));
                return keys;
            },
            (keys, config) =>
            {
                var (count, used) = (keys.Integer(keys.Prefix + "expert_count"), keys.Integer(keys.Prefix + "expert_used_count"));
                if (count > ConfigFields.MostCount)
                    throw keys.Bad(keys.Prefix + "expert_count", count, $"at most {ConfigFields.MostCount} are supported");
                if (used > count)
                    throw keys.Bad(keys.Prefix + "expert_used_count", used, $"there are {count} experts");
                keys.Fixed(keys.Prefix + "expert_shared_count", 0, "experts that see every token are not supported");
                keys.Fixed(keys.Prefix + "leading_dense_block_count", 0, "every layer has experts");
                keys.Fixed(keys.Prefix + "expert_gating_func", 1, "weights of experts are a softmax");
                keys.Fixed(keys.Prefix + "expert_weights_scale", 1, "weights of experts have no factor");
                if (keys.FlagOrNull(keys.Prefix + "expert_weights_norm") == false)
                    throw keys.Bad(keys.Prefix + "expert_weights_norm", false, "the weights of the chosen experts add up to 1");
                return config with
                {
                    Experts = new()
                    {
                        Count = count,
                        PerToken = used,
                        Size = keys.UniformOrNull(keys.Prefix + "expert_feed_forward_length") ?? config.IntermediateSize,
                    },
                };
            }
        );

    /// <summary>Layers with a window, all but every layer of a period.</summary>
    public static GgufTrait Windows(
        int period,
        LayerRotation windowed = LayerRotation.Main,
        LayerRotation full = LayerRotation.Main,
        int? absent = null
    ) =>
        new(
            config => [("attention.sliding_window", (uint)(config.SlidingWindow ?? 0))],
            (keys, config) =>
            {
                var window = keys.UniformOrNull(keys.Prefix + "attention.sliding_window", 0) ?? absent ?? 0;
                var pattern = keys.Prefix + "attention.sliding_window_pattern";
                var isWindowed = keys.IsList(pattern)
                    ? keys.LayersOrNull(pattern, config.LayerCount)!.Select(flag => flag != 0)
                    : Period((int?)keys.IntegerOrNull(pattern) ?? period, config.LayerCount);
                var kinds = isWindowed.Select(flag => flag && window > 0).ToList();
                return (config with { SlidingWindow = kinds.Contains(true) ? window : null }).PlanLayers(
                    (layer, plan) => plan with { Window = kinds[layer] ? window : null, Rotation = kinds[layer] ? windowed : full }
                );
            }
        );

    private static IEnumerable<bool> Period(int period, int layers) =>
        Enumerable.Range(0, layers).Select(layer => period == 0 || layer % period < period - 1);

    // Engines know EXAONE 4's windows by its number of layers.
    public static GgufTrait ExaoneWindows()
    {
        var windows = Windows(4, full: LayerRotation.None, absent: 4096);
        return new(
            config => config.SlidingWindow is null ? [] : windows.Write(config),
            (keys, config) =>
            {
                if (config.LayerCount == 64)
                    return windows.Read(keys, config);
                keys.Note(keys.Prefix + "attention.sliding_window");
                keys.Note(keys.Prefix + "attention.sliding_window_pattern");
                return config;
            }
        );
    }

    // Positions of the layers with a window.
    public static GgufTrait Local(Func<ModelConfig, double> absent) =>
        new(
            config => config.LocalRope is { } local && local.Theta != absent(config) ? [("rope.freq_base_swa", (float)local.Theta)] : [],
            (keys, config) =>
                config with
                {
                    LocalRope = new()
                    {
                        Theta = keys.NumberOrNull(keys.Prefix + "rope.freq_base_swa") ?? absent(config),
                        RotarySize = config.HeadSize,
                    },
                }
        );

    // YaRN's attention factor, and queries that grow with their position.
    public static GgufTrait GrowingQueries() =>
        new(
            config =>
                [
                    .. config.RopeScaling.MscaleAllDim is { } multiplier
                        ? [("rope.scaling.yarn_log_multiplier", (float)multiplier)]
                        : Array.Empty<(string, object)>(),
                    .. config.RopeScaling.QueryGrowth is { } growth
                        ? [("attention.temperature_scale", (float)growth)]
                        : Array.Empty<(string, object)>(),
                ],
            (keys, config) =>
            {
                var multiplier = keys.NumberOrNull(keys.Prefix + "rope.scaling.yarn_log_multiplier", 0);
                var growth = keys.NumberOrNull(keys.Prefix + "attention.temperature_scale", 0);
                var scaling = config.RopeScaling;
                keys.Fixed(
                    keys.Prefix + "attention.temperature_length",
                    scaling.OriginalMaxPositions ?? config.MaxPositions,
                    "queries grow with each original context"
                );
                if (scaling.Kind == "yarn" && multiplier > 0)
                    scaling = scaling with { Mscale = 1, MscaleAllDim = multiplier };
                return config with { RopeScaling = scaling with { QueryGrowth = growth > 0 ? growth : null } };
            }
        );

    public static GgufTrait DeltaNet() =>
        new(
            config =>
            {
                var net = config.LinearAttention!;
                List<(string, object)> keys =
                [
                    ("ssm.conv_kernel", (uint)net.ConvolutionSize),
                    ("ssm.state_size", (uint)net.KeySize),
                    ("ssm.group_count", (uint)net.KeyHeadCount),
                    ("ssm.time_step_rank", (uint)net.ValueHeadCount),
                    ("ssm.inner_size", (uint)(net.ValueHeadCount * net.ValueSize)),
                ];
                var period = Enumerable.Range(1, config.LayerCount).First(i => i == config.LayerCount || !config.GetLayer(i - 1).IsLinear);
                keys.Add(("full_attention_interval", (uint)period));
                return keys;
            },
            (keys, config) =>
            {
                int Of(string name) => keys.Integer(keys.Prefix + name);
                var (heads, inner, size) = (Of("ssm.time_step_rank"), Of("ssm.inner_size"), Of("ssm.state_size"));
                if (inner != heads * size)
                    throw keys.Bad(
                        keys.Prefix + "ssm.inner_size",
                        inner,
                        $"engines want {heads} value heads of {size} numbers, as keys have"
                    );
                var groups = Of("ssm.group_count");
                if (heads % groups != 0)
                    throw keys.Bad(keys.Prefix + "ssm.group_count", groups, $"it must divide the number of value heads, {heads}");
                var recurrent = keys.Prefix + "attention.recurrent_layers";
                var interval = (int?)keys.IntegerOrNull(keys.Prefix + "full_attention_interval", 1) ?? 4;
                var isLinear = keys.LayersOrNull(recurrent, config.LayerCount)?.Select(flag => flag != 0).ToList()
                    ?? [.. Enumerable.Range(1, config.LayerCount).Select(i => i % interval != 0)];
                return (
                    config with
                    {
                        LinearAttention = new()
                        {
                            KeyHeadCount = groups,
                            ValueHeadCount = heads,
                            KeySize = size,
                            ValueSize = size,
                            ConvolutionSize = Of("ssm.conv_kernel"),
                        },
                    }
                ).PlanLayers((layer, plan) => plan with { IsLinear = isLinear[layer] });
            }
        );

    // Which of a picture's three positions turns each pair; a text has three equal ones, and a fourth that is 0.
    public static GgufTrait Sections() =>
        new(
            config =>
            {
                var pairs = config.RotarySize / 2;
                return [("rope.dimension_sections", new[] { (pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0 })];
            },
            (keys, config) =>
            {
                var (name, pairs) = (keys.Prefix + "rope.dimension_sections", config.RotarySize / 2);
                var sections = keys.LayersOrNull(name, 4) ?? throw keys.Missing(name);
                return Enumerable.Range(0, pairs).All(pair => pair < 3 * sections[pair % 3])
                    ? config
                    : throw keys.Bad(name, string.Join(", ", sections), $"it must cover the {pairs} pairs of a head that are rotated");
            }
        );

    // Sizes of each kind of layer, and the last layers, which look at the keys of layers before them.
    public static GgufTrait Gemma4Layers() =>
        new(
            config =>
            {
                var windowed = config.Layers.FirstOrDefault(l => l.Window is not null) ?? config.Layers[0];
                List<(string, object)> keys =
                [
                    ("feed_forward_length", config.Layers.Select(l => l.IntermediateSize).ToArray()),
                    ("attention.head_count_kv", config.Layers.Select(l => l.KeyValueHeadCount).ToArray()),
                    ("attention.sliding_window", (uint)(config.SlidingWindow ?? 0)),
                    ("attention.sliding_window_pattern", config.Layers.Select(l => l.Window is not null).ToArray()),
                    ("attention.key_length_swa", (uint)windowed.HeadSize),
                    ("attention.value_length_swa", (uint)windowed.HeadSize),
                    ("attention.shared_kv_layers", (uint)config.Layers.Count(l => l.KeysOf is not null)),
                    ("embedding_length_per_layer_input", (uint)(config.TokenInputs?.Size ?? 0)),
                    ("rope.freq_base_swa", (float)(config.LocalRope?.Theta ?? config.RopeTheta)),
                    ("rope.dimension_count_swa", (uint)windowed.HeadSize),
                ];
                return config.Experts is null ? keys : keys.Concat(Mixture(hasSize: true).Write(config));
            },
            (keys, config) =>
            {
                string Key(string name) => keys.Prefix + name;
                var layers = config.LayerCount;
                var window = keys.Integer(Key("attention.sliding_window"), 0);
                var pattern = keys.LayersOrNull(Key("attention.sliding_window_pattern"), layers)
                    ?? throw keys.Missing(Key("attention.sliding_window_pattern"));
                var heads = keys.LayersOrNull(Key("attention.head_count_kv"), layers, 1)
                    ?? [.. Enumerable.Repeat(config.HeadCount, layers)];
                var widths = keys.LayersOrNull(Key("feed_forward_length"), layers, 1)!;
                var size = keys.Integer(Key("attention.key_length_swa"));
                keys.Fixed(Key("attention.value_length_swa"), size, "keys and values have the same size here");
                keys.Fixed(Key("rope.dimension_count_swa"), size, "whole heads are rotated in layers with a window");
                var shared = (int)(keys.IntegerOrNull(Key("attention.shared_kv_layers")) ?? 0);
                var inputs = (int)(keys.IntegerOrNull(Key("embedding_length_per_layer_input")) ?? 0);
                var own = layers - shared;
                bool IsWindowed(int layer) => pattern[layer] != 0 && window > 0;
                if (own < 2 && shared > 0)
                    throw keys.Bad(Key("attention.shared_kv_layers"), shared, $"of {layers} layers two must have keys of their own");
                config = keys.IntegerOrNull(Key("expert_count")) > 0 ? Mixture(hasSize: true).Read(keys, config) : config;
                keys.Fixed(Key("expert_used_count"), config.Experts?.PerToken ?? 0, "there are no experts");
                keys.Note(Key("expert_feed_forward_length"));
                var first = Enumerable.Range(0, layers).FirstOrDefault(IsWindowed, 0);
                return (
                    config with
                    {
                        SlidingWindow = Enumerable.Range(0, layers).Any(IsWindowed) ? window : null,
                        KeyValueHeadCount = heads[first],
                        IntermediateSize = widths[0],
                        LocalRope = new() { Theta = keys.NumberOrNull(Key("rope.freq_base_swa")) ?? 10000, RotarySize = size },
                        TokenInputs = inputs == 0 ? null : new() { Size = inputs, VocabularySize = config.VocabularySize },
                    }
                ).PlanLayers(
                    (layer, plan) =>
                        plan with
                        {
                            Window = IsWindowed(layer) ? window : null,
                            Rotation = IsWindowed(layer) ? LayerRotation.Local : LayerRotation.Main,
                            HeadSize = IsWindowed(layer) ? size : config.HeadSize,
                            KeyValueHeadCount = heads[layer],
                            IntermediateSize = widths[layer],
                            KeysOf =
                                layer < own ? null
                                : IsWindowed(layer) ? own - 2
                                : own - 1,
                            ValuesAreKeys = layer < own && !keys.HasTensor($"blk.{layer}.attn_v.weight"),
                        }
                );
            }
        );

    // Engines know by the number of layers which size has a scale of its own.
    public static double GemmaScale(ModelConfig config, int wide) =>
        1 / Math.Sqrt(config.LayerCount == wide ? (double)config.HiddenSize / config.HeadCount : config.HeadSize);
}
