using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>The architectures of well-known models as their makers published them, for planning without a download.</summary>
internal static class PublishedConfigs
{
    private static readonly RopeScalingConfig s_llama31 = new()
    {
        Kind = "llama3",
        Factor = 8,
        LowFrequencyFactor = 1,
        HighFrequencyFactor = 4,
        OriginalMaxPositions = 8192,
    };

    private static readonly Dictionary<string, ModelConfig> s_configs = new()
    {
        ["llama-7b"] = Llama(4096, 11008, 32, 32, 32, 32000, 2048) with { NormEpsilon = 1e-6 },
        ["llama-2-7b"] = Llama(4096, 11008, 32, 32, 32, 32000, 4096),
        ["llama-2-13b"] = Llama(5120, 13824, 40, 40, 40, 32000, 4096),
        ["llama-2-70b"] = Llama(8192, 28672, 80, 64, 8, 32000, 4096),
        ["llama-3-8b"] = Llama(4096, 14336, 32, 32, 8, 128256, 8192) with { RopeTheta = 500000 },
        ["llama-3-70b"] = Llama(8192, 28672, 80, 64, 8, 128256, 8192) with { RopeTheta = 500000 },
        ["llama-3.1-8b"] = Llama(4096, 14336, 32, 32, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.1-70b"] = Llama(8192, 28672, 80, 64, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.1-405b"] = Llama(16384, 53248, 126, 128, 8, 128256, 131072) with { RopeTheta = 500000, RopeScaling = s_llama31 },
        ["llama-3.2-1b"] = Llama32(2048, 8192, 16, 32),
        ["llama-3.2-3b"] = Llama32(3072, 8192, 28, 24),
        ["tinyllama-1.1b"] = Llama(2048, 5632, 22, 32, 4, 32000, 2048),
        ["smollm2-135m"] = SmolLm2(576, 1536, 30, 9, 3) with { RopeTheta = 100000, InitializerRange = 0.041666666666666664 },
        ["smollm2-1.7b"] = SmolLm2(2048, 8192, 24, 32, 32) with { RopeTheta = 130000 },
        ["yi-6b"] = Llama(4096, 11008, 32, 32, 4, 64000, 4096) with { RopeTheta = 5000000, BosTokenId = 1, EosTokenIds = [2] },
        ["yi-34b"] = Llama(7168, 20480, 60, 56, 8, 64000, 4096) with { RopeTheta = 5000000, BosTokenId = 1, EosTokenIds = [2] },

        ["mistral-7b-v0.1"] = Mistral(4096, 32, 32000, 32768) with
        {
            SlidingWindow = 4096,
        },
        ["mistral-7b-v0.3"] = Mistral(4096, 32, 32768, 32768) with { RopeTheta = 1000000 },
        ["mistral-nemo-12b"] = Mistral(5120, 40, 131072, 131072) with { RopeTheta = 1000000 },

        ["qwen2.5-0.5b"] = Qwen2(896, 4864, 24, 14, 2, 151936, 32768) with
        {
            TiedEmbeddings = true,
        },
        ["qwen2.5-1.5b"] = Qwen2(1536, 8960, 28, 12, 2, 151936, 131072) with { TiedEmbeddings = true },
        ["qwen2.5-7b"] = Qwen2(3584, 18944, 28, 28, 4, 152064, 131072),
        ["qwen2.5-14b"] = Qwen2(5120, 13824, 48, 40, 8, 152064, 131072) with { NormEpsilon = 1e-5 },
        ["qwen2.5-32b"] = Qwen2(5120, 27648, 64, 40, 8, 152064, 131072) with { NormEpsilon = 1e-5 },
        ["qwen2.5-72b"] = Qwen2(8192, 29568, 80, 64, 8, 152064, 131072) with { NormEpsilon = 1e-5 },

        ["qwen3-0.6b"] = Qwen3(1024, 3072, 28, 16) with
        {
            TiedEmbeddings = true,
        },
        ["qwen3-1.7b"] = Qwen3(2048, 6144, 28, 16) with { TiedEmbeddings = true },
        ["qwen3-4b"] = Qwen3(2560, 9728, 36, 32) with { TiedEmbeddings = true },
        ["qwen3-8b"] = Qwen3(4096, 12288, 36, 32),
        ["qwen3-14b"] = Qwen3(5120, 17408, 40, 40),
        ["qwen3-32b"] = Qwen3(5120, 25600, 64, 64),

        ["phi-3-mini-4k"] = Phi3(3072, 8192, 32, 32, 32, 32064, 4096) with
        {
            SlidingWindow = 2047,
        },
        ["phi-3-medium-4k"] = Phi3(5120, 17920, 40, 40, 10, 32064, 4096) with { SlidingWindow = 2047 },
        ["phi-3.5-mini-128k"] = Phi3(3072, 8192, 32, 32, 32, 32064, 131072) with { SlidingWindow = 262144, RopeScaling = Phi35Scaling() },
        ["phi-4"] = Phi3(5120, 17920, 40, 40, 10, 100352, 16384) with { RopeTheta = 250000, BosTokenId = 100257, EosTokenIds = [100265] },

        ["pythia-70m"] = GptNeoX(512, 6, 8, 50304),
        ["pythia-160m"] = GptNeoX(768, 12, 12, 50304),
        ["pythia-410m"] = GptNeoX(1024, 24, 16, 50304),
        ["pythia-1b"] = GptNeoX(2048, 16, 8, 50304),
        ["pythia-1.4b"] = GptNeoX(2048, 24, 16, 50304),
        ["pythia-2.8b"] = GptNeoX(2560, 32, 32, 50304),
        ["pythia-6.9b"] = GptNeoX(4096, 32, 32, 50432),
        ["pythia-12b"] = GptNeoX(5120, 36, 40, 50688),
        ["gpt-neox-20b"] = GptNeoX(6144, 44, 64, 50432) with { Activation = "gelu_fast" },
    };

    /// <summary>The names that <see cref="Find"/> knows.</summary>
    public static IReadOnlyCollection<string> Names { get; } = [.. s_configs.Keys, .. PublishedFiles.Names];

    /// <summary>Whether the list has a model of this name, in letters of either case.</summary>
    public static bool Has(string name) => Names.Contains(name, StringComparer.OrdinalIgnoreCase);

    /// <summary>The config of a model by name, such as <c>llama-2-7b</c>, in letters of either case.</summary>
    /// <exception cref="ConfigurationException">The name is unknown; the message lists the known names.</exception>
    public static ModelConfig Find(string name)
    {
        var known = Names.FirstOrDefault(n => n.Equals(name, StringComparison.OrdinalIgnoreCase))
            ?? throw new ConfigurationException(
                $"There is no published model '{name}' in the list.{NearestName.Hint(name, Names)} "
                    + $"Use one of {string.Join(", ", Names)}."
            );
        return s_configs.TryGetValue(known, out var config) ? config : PublishedFiles.Find(known)!;
    }

    private static ModelConfig Gated(
        string type,
        int hidden,
        int mlp,
        int layers,
        int heads,
        int sharedHeads,
        int vocabulary,
        int positions
    ) =>
        new()
        {
            ModelType = type,
            HiddenSize = hidden,
            IntermediateSize = mlp,
            LayerCount = layers,
            HeadCount = heads,
            KeyValueHeadCount = sharedHeads,
            HeadSize = hidden / heads,
            VocabularySize = vocabulary,
            MaxPositions = positions,
            NormEpsilon = 1e-5,
        };

    private static ModelConfig Llama(int hidden, int mlp, int layers, int heads, int sharedHeads, int vocabulary, int positions) =>
        Gated("llama", hidden, mlp, layers, heads, sharedHeads, vocabulary, positions) with
        {
            BosTokenId = vocabulary == 32000 ? 1 : 128000,
            EosTokenIds = [vocabulary == 32000 ? 2 : 128001],
        };

    private static ModelConfig Llama32(int hidden, int mlp, int layers, int heads) =>
        Llama(hidden, mlp, layers, heads, 8, 128256, 131072) with
        {
            RopeTheta = 500000,
            RopeScaling = s_llama31 with { Factor = 32 },
            TiedEmbeddings = true,
        };

    private static ModelConfig SmolLm2(int hidden, int mlp, int layers, int heads, int sharedHeads) =>
        Llama(hidden, mlp, layers, heads, sharedHeads, 49152, 8192) with
        {
            TiedEmbeddings = true,
            BosTokenId = 0,
            EosTokenIds = [0],
        };

    private static ModelConfig Mistral(int hidden, int layers, int vocabulary, int positions) =>
        Gated("mistral", hidden, 14336, layers, 32, 8, vocabulary, positions) with
        {
            HeadSize = 128,
            BosTokenId = 1,
            EosTokenIds = [2],
        };

    private static ModelConfig Qwen2(int hidden, int mlp, int layers, int heads, int sharedHeads, int vocabulary, int positions) =>
        Gated("qwen2", hidden, mlp, layers, heads, sharedHeads, vocabulary, positions) with
        {
            NormEpsilon = 1e-6,
            RopeTheta = 1000000,
            AttentionBias = true,
            BosTokenId = 151643,
            EosTokenIds = [151643],
        };

    private static ModelConfig Qwen3(int hidden, int mlp, int layers, int heads) =>
        Gated("qwen3", hidden, mlp, layers, heads, 8, 151936, 40960) with
        {
            HeadSize = 128,
            NormEpsilon = 1e-6,
            RopeTheta = 1000000,
            BosTokenId = 151643,
            EosTokenIds = [151645],
        };

    private static ModelConfig Phi3(int hidden, int mlp, int layers, int heads, int sharedHeads, int vocabulary, int positions) =>
        Gated("phi3", hidden, mlp, layers, heads, sharedHeads, vocabulary, positions) with
        {
            BosTokenId = 1,
            EosTokenIds = [32000],
        };

    private static ModelConfig GptNeoX(int hidden, int layers, int heads, int vocabulary) =>
        Gated("gpt_neox", hidden, 4 * hidden, layers, heads, heads, vocabulary, 2048) with
        {
            RotarySize = hidden / heads / 4,
            AttentionBias = true,
            MlpBias = true,
            ParallelResidual = true,
            Activation = "gelu",
            BosTokenId = 0,
            EosTokenIds = [0],
        };

    private static RopeScalingConfig Phi35Scaling() =>
        new()
        {
            Kind = "longrope",
            OriginalMaxPositions = 4096,
            ShortFactors =
            [
                1.0,
                1.0199999809265137,
                1.0299999713897705,
                1.0299999713897705,
                1.0499999523162842,
                1.0499999523162842,
                1.0499999523162842,
                1.0499999523162842,
                1.0499999523162842,
                1.0699999332427979,
                1.0999999046325684,
                1.1099998950958252,
                1.1599998474121094,
                1.1599998474121094,
                1.1699998378753662,
                1.2899998426437378,
                1.339999794960022,
                1.679999828338623,
                1.7899998426437378,
                1.8199998140335083,
                1.8499997854232788,
                1.8799997568130493,
                1.9099997282028198,
                1.9399996995925903,
                1.9899996519088745,
                2.0199997425079346,
                2.0199997425079346,
                2.0199997425079346,
                2.0199997425079346,
                2.0199997425079346,
                2.0199997425079346,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0299997329711914,
                2.0799996852874756,
                2.0899996757507324,
                2.189999580383301,
                2.2199995517730713,
                2.5899994373321533,
                2.729999542236328,
                2.749999523162842,
                2.8399994373321533,
            ],
            LongFactors =
            [
                1.0800000429153442,
                1.1100000143051147,
                1.1399999856948853,
                1.340000033378601,
                1.5899999141693115,
                1.600000023841858,
                1.6200000047683716,
                2.620000123977661,
                3.2300000190734863,
                3.2300000190734863,
                4.789999961853027,
                7.400000095367432,
                7.700000286102295,
                9.09000015258789,
                12.199999809265137,
                17.670000076293945,
                24.46000099182129,
                28.57000160217285,
                30.420001983642578,
                30.840002059936523,
                32.590003967285156,
                32.93000411987305,
                42.320003509521484,
                44.96000289916992,
                50.340003967285156,
                50.45000457763672,
                57.55000305175781,
                57.93000411987305,
                58.21000289916992,
                60.1400032043457,
                62.61000442504883,
                62.62000274658203,
                62.71000289916992,
                63.1400032043457,
                63.1400032043457,
                63.77000427246094,
                63.93000411987305,
                63.96000289916992,
                63.970001220703125,
                64.02999877929688,
                64.06999969482422,
                64.08000183105469,
                64.12000274658203,
                64.41000366210938,
                64.4800033569336,
                64.51000213623047,
                64.52999877929688,
                64.83999633789062,
            ],
        };
}
