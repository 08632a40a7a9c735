using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>Makes a model from a checkpoint, from a config alone, or new. The one switch over model families.</summary>
public static class ModelLoader
{
    /// <summary>The families that can be built, by <c>model_type</c>.</summary>
    public static IReadOnlyList<string> Families { get; } = ModelConfigReader.Families;

    /// <summary>
    /// The model that <paramref name="config"/> describes with the weights of <paramref name="source"/>. On the CPU its weights are the
    /// mapped files: loading takes no memory, and the model, which now owns the source, reads them as they are used.
    /// </summary>
    /// <param name="config">The architecture.</param>
    /// <param name="source">The weights.</param>
    /// <param name="device">Where the model lives; null for the CPU.</param>
    /// <param name="quantization">
    /// Form of the decoder blocks' matrices: they are quantised one at a time, and the model in full precision never exists. A checkpoint
    /// that is stored in few bits is taken as it is.
    /// </param>
    /// <exception cref="CheckpointException">A tensor is missing, superfluous, of the wrong shape, or not finite.</exception>
    public static CausalLanguageModel Load(
        ModelConfig config,
        ITensorSource source,
        Device? device = null,
        QuantizationKind quantization = QuantizationKind.None
    )
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        var family = Family(config);
        if (HasOwnHead(config, family, source))
            config = config with { TiedEmbeddings = false };
        bool IsIgnored(string name) => family.IsIgnored(name) || (config.TiedEmbeddings && name == family.Head + ".weight");
        return Build(
            config,
            new CheckpointWeights(source, device, IsIgnored),
            device,
            source,
            new ProjectionQuantizer(quantization, device, MainType(source))
        );
    }

    // A tied model whose files have a head with other values than the embeddings is no tied model, whatever its config says: it was trained
    // untied, or merged with an adapter that has a head.
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

    /// <summary>The names and shapes that a config means, without memory.</summary>
    public static CausalLanguageModel Describe(ModelConfig config) => Build(config, new MetaWeights(), META, null, null);

    /// <summary>A new model with random weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    /// <param name="device">Where it lives; null for the CPU.</param>
    /// <param name="quantization">Form of the decoder blocks' matrices.</param>
    /// <param name="type">Type of the weights.</param>
    public static CausalLanguageModel Create(
        ModelConfig config,
        long seed,
        Device? device = null,
        QuantizationKind quantization = QuantizationKind.None,
        ScalarType type = ScalarType.Float32
    )
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        return Build(
            config,
            new RandomWeights(config.InitializerRange, seed, device, type),
            device,
            null,
            new ProjectionQuantizer(quantization, device)
        );
    }

    // The type of the embeddings, the largest tensor that is never quantised.
    private static ScalarType MainType(ITensorSource source) =>
        source
            .Tensors.Values.Where(t => t.Type is ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float64)
            .MaxBy(t => t.ElementCount)
            ?.Type
        ?? ScalarType.BFloat16;

    private static ModelFamily Family(ModelConfig config) =>
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
            "mixtral" => Mixtral.Family,
            "qwen3_moe" => Qwen3Moe.Family,
            "gpt_oss" => GptOss.Family,
            "arcee" => Arcee.Family,
            "apertus" => Apertus.Family,
            "cohere2" => Cohere2.Family,
            "hunyuan_v1_dense" => Hunyuan.Family,
            "ernie4_5" => Ernie45.Family,
            _ => throw new CheckpointException(
                $"Models of type '{config.ModelType}' are not supported; the supported types are {string.Join(", ", Families)}."
            ),
        };

    private static CausalLanguageModel Build(
        ModelConfig config,
        WeightSource source,
        Device device,
        IDisposable? files,
        IProjectionSource? projections
    )
    {
        var layers = new LayerBuilder(source, projections);
        try
        {
            var parts = Family(config).Build(config, layers);
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
