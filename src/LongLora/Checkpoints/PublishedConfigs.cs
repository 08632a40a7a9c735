using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>The architecture numbers of well-known models, as their makers published them: for planning without a download.</summary>
public static class PublishedConfigs
{
    private static readonly RopeScalingConfig s_llama31 =
        new() { Kind = "llama3", Factor = 8, LowFrequencyFactor = 1, HighFrequencyFactor = 4, OriginalMaxPositions = 8192 };

    private static readonly Dictionary<string, ModelConfig> s_configs = new()
    {
        ["llama-2-7b"] = Llama(4096, 11008, 32, 32, 32, 32000, 4096),
        ["llama-2-13b"] = Llama(5120, 13824, 40, 40, 40, 32000, 4096),
        ["llama-2-70b"] = Llama(8192, 28672, 80, 64, 8, 32000, 4096),
        ["llama-3.1-8b"] = Llama(4096, 14336, 32, 32, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.1-70b"] = Llama(8192, 28672, 80, 64, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.1-405b"] = Llama(16384, 53248, 126, 128, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.2-1b"] = Llama(2048, 8192, 16, 32, 8, 128256, 131072) with
        {
            RopeTheta = 500000,
            RopeScaling = s_llama31 with { Factor = 32 },
            TiedEmbeddings = true,
        },
    };

    /// <summary>Names that <see cref="Find"/> knows.</summary>
    public static IReadOnlyCollection<string> Names => s_configs.Keys;

    /// <summary>The config of a model by its name, such as <c>llama-2-7b</c>.</summary>
    /// <exception cref="ConfigurationException">The name is not known; the message lists those that are.</exception>
    public static ModelConfig Find(string name) => s_configs.TryGetValue(name, out var config) ? config
        : throw new ConfigurationException($"There is no published model '{name}' in the list.{NearestName.Hint(name, Names)} The list has {string.Join(", ", Names)}.");

    private static ModelConfig Llama(int hidden, int mlp, int layers, int heads, int sharedHeads, int vocabulary, int positions) => new()
    {
        ModelType = "llama",
        HiddenSize = hidden,
        IntermediateSize = mlp,
        LayerCount = layers,
        HeadCount = heads,
        KeyValueHeadCount = sharedHeads,
        HeadSize = hidden / heads,
        VocabularySize = vocabulary,
        MaxPositions = positions,
        NormEpsilon = 1e-5,
        BosTokenId = vocabulary == 32000 ? 1 : 128000,
        EosTokenIds = [vocabulary == 32000 ? 2 : 128001],
    };
}
