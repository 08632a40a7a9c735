using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// Makes a model from a checkpoint, from a config alone, or with new weights. Only this class chooses between model families.
/// </summary>
internal static class ModelLoader
{
    /// <summary>The supported families, by <c>model_type</c>.</summary>
    public static IReadOnlyList<string> Families { get; } = ModelConfigReader.Families;

    /// <summary>
    /// The model that <paramref name="config"/> describes, with the weights of <paramref name="source"/>. On the CPU the weights are the
    /// mapped files, so loading takes no memory. The model owns the source and reads the weights when they are used.
    /// </summary>
    /// <param name="config">The architecture.</param>
    /// <param name="source">The weights.</param>
    /// <param name="device">Where the model lives; null for the CPU.</param>
    /// <param name="quantization">
    /// Format of the decoder blocks' matrices. They are quantized one at a time, so the model in full precision never exists. A quantized
    /// checkpoint is used as it is.
    /// </param>
    /// <param name="among">Ranks that divide the decoder blocks' matrices, all of which call it; null to have them whole.</param>
    /// <exception cref="CheckpointException">A tensor is missing, unexpected, of the wrong shape, or not finite.</exception>
    public static CausalLanguageModel Load(
        ModelConfig config,
        ITensorSource source,
        Device? device = null,
        QuantizationKind quantization = QuantizationKind.None,
        ICommunicator? among = null
    )
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        var family = FindFamily(config);
        if (HasOwnHead(config, family, source))
            config = config with { TiedEmbeddings = false };
        bool IsIgnored(string name) => family.IsIgnored(name) || (config.TiedEmbeddings && name == family.Head + ".weight");
        return Build(
            config,
            new CheckpointWeights(source, device, IsIgnored),
            device,
            source,
            new ProjectionQuantizer(quantization, device, FindMainType(source)),
            among
        );
    }

    // If the files of a tied model have a head that differs from the embeddings, the model is not tied, whatever its config says: it was
    // trained untied, or merged with an adapter that has a head.
    private static bool HasOwnHead(ModelConfig config, ModelFamily family, ITensorSource source)
    {
        string head = family.Head + ".weight",
            embedding = family.Embedding + ".weight";
        if (
            !config.TiedEmbeddings
            || !source.Tensors.TryGetValue(head, out var headInfo)
            || !source.Tensors.TryGetValue(embedding, out var embeddingInfo)
            || !headInfo.Shape.SequenceEqual(embeddingInfo.Shape)
        )
            return false;
        var differs = false;
        source.Visit(head, own => source.Visit(embedding, shared => differs = Differ(own, shared)));
        return differs;
    }

    private static bool Differ(Tensor one, Tensor other)
    {
        const long rowsAtOnce = 4096;
        for (long start = 0; start < one.size(0); start += rowsAtOnce)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(rowsAtOnce, one.size(0) - start);
            Tensor Cut(Tensor table) => table.narrow(0, start, count).to(ScalarType.Float32);
            if (!Cut(one).equal(Cut(other)).all().item<bool>())
                return true;
        }
        return false;
    }

    /// <summary>The names and shapes that a config describes, without memory.</summary>
    public static CausalLanguageModel Describe(ModelConfig config) => Build(config, new MetaWeights(), META, null, null);

    /// <summary>A new model with random weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    /// <param name="device">Where the model lives; null for the CPU.</param>
    /// <param name="quantization">Format of the decoder blocks' matrices.</param>
    /// <param name="type">Type of the weights.</param>
    /// <param name="among">As for <see cref="Load"/>.</param>
    public static CausalLanguageModel Create(
        ModelConfig config,
        long seed,
        Device? device = null,
        QuantizationKind quantization = QuantizationKind.None,
        ScalarType type = ScalarType.Float32,
        ICommunicator? among = null
    )
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        return Build(
            config,
            new RandomWeights(config.InitializerRange, seed, device, type),
            device,
            null,
            new ProjectionQuantizer(quantization, device),
            among
        );
    }

    // The type of the embeddings, the largest tensor that is never quantized.
    private static ScalarType FindMainType(ITensorSource source) =>
        source
            .Tensors.Values.Where(t => t.Type is ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64)
            .MaxBy(t => t.ElementCount)
            ?.Type
        ?? ScalarType.BFloat16;

    private static ModelFamily FindFamily(ModelConfig config) =>
        config.ModelType switch
        {
            "llama" => Llama.Family,
            "mistral" => Mistral.Family,
            "qwen2" => Qwen2.Family,
            "qwen3" => Qwen3.Family,
            "phi3" => Phi3.Family,
            "gpt_neox" => GptNeoX.Family,
            "smollm3" => SmolLm3.Family,
            "ministral3" => Ministral3.Family,
            "seed_oss" => SeedOss.Family,
            "olmo2" or "olmo3" => Olmo2.Family,
            "granite" => Granite.Family,
            "exaone4" => Exaone4.Family,
            "glm" => Glm.Family,
            "glm4" => Glm4.Family,
            "gemma2" => Gemma2.Family,
            "gemma3_text" => Gemma3.Family,
            "gemma4_text" => Gemma4.Family,
            "mixtral" => Mixtral.Family,
            "qwen3_moe" => Qwen3Moe.Family,
            "gpt_oss" => GptOss.Family,
            "arcee" => Arcee.Family,
            "apertus" => Apertus.Family,
            "cohere2" => Cohere2.Family,
            "hunyuan_v1_dense" => Hunyuan.Family,
            "ernie4_5" => Ernie45.Family,
            "qwen3_5_text" => Qwen35.Family,
            _ => throw new CheckpointException(
                $"Models of type '{config.ModelType}' are not supported. The supported types are {string.Join(", ", Families)}."
            ),
        };

    private static CausalLanguageModel Build(
        ModelConfig config,
        WeightSource source,
        Device device,
        IDisposable? files,
        IProjectionSource? projections,
        ICommunicator? among = null
    )
    {
        var layers = new LayerBuilder(source, projections, among is null ? null : new DividedMatrices(among));
        try
        {
            var parts = FindFamily(config).Build(config, layers);
            source.Finish();
            return new CausalLanguageModel(config, layers, parts, device, files);
        }
        catch
        {
            layers.Dispose();
            throw;
        }
    }
}
