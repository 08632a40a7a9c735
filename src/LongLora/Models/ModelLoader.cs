using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>Makes a model from a checkpoint, from a config alone, or new. The one switch over model families.</summary>
public static class ModelLoader
{
    /// <summary>The families that can be built, by <c>model_type</c>.</summary>
    public static IReadOnlyList<string> Families { get; } = ["llama"];

    /// <summary>
    /// The model that <paramref name="config"/> describes with the weights of <paramref name="source"/>. On the CPU its weights are the mapped
    /// files: loading takes no memory, and the model, which now owns the source, reads them as they are used.
    /// </summary>
    /// <exception cref="CheckpointException">A tensor is missing, superfluous, of the wrong shape, or not finite.</exception>
    public static CausalLanguageModel Load(ModelConfig config, ITensorSource source, Device? device = null)
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        return Build(config, new CheckpointWeights(source, device, Llama.IsIgnored), device, source);
    }

    /// <summary>The names and shapes that a config means, without memory.</summary>
    public static CausalLanguageModel Describe(ModelConfig config) => Build(config, new MetaWeights(), META, null);

    /// <summary>A new model with random weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    /// <param name="device">Where it lives; null for the CPU.</param>
    public static CausalLanguageModel Create(ModelConfig config, long seed, Device? device = null)
    {
        LibTorch.EnsureLoaded();
        device ??= CPU;
        return Build(config, new RandomWeights(config.InitializerRange, seed, device), device, null);
    }

    private static CausalLanguageModel Build(ModelConfig config, WeightSource source, Device device, IDisposable? files)
    {
        var layers = new LayerBuilder(source);
        try
        {
            var (embedding, blocks, norm, head) = config.ModelType switch
            {
                "llama" => Llama.Build(config, layers),
                _ => throw new CheckpointException(
                    $"Models of type '{config.ModelType}' are not supported; the supported types are {string.Join(", ", Families)}."),
            };
            source.Finish();
            return new CausalLanguageModel(config, layers, embedding, blocks, norm, head, device, files);
        }
        catch
        {
            foreach (var weight in layers.Weights)
                weight.Dispose();
            throw;
        }
    }
}
