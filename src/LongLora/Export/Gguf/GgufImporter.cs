using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// Writes a GGUF model as a Hugging Face folder: config, weights, tokenizer, chat template and generation settings.
/// </summary>
internal static class GgufImporter
{
    /// <summary>Writes the folder atomically, with one tensor in memory at a time.</summary>
    /// <param name="output">The folder to create; an existing one is replaced.</param>
    /// <param name="model">The model.</param>
    /// <param name="type">
    /// Type of all weights; null for a lossless conversion: F16 and BF16 tensors stay as they are, all others become fp32.
    /// </param>
    /// <param name="maxShardBytes">Maximum bytes of tensors in one file.</param>
    /// <exception cref="CheckpointException">
    /// A tensor is missing, its shape does not match the metadata, or a number does not fit into the type.
    /// </exception>
    public static void Write(
        string output,
        GgufModel model,
        ScalarType? type = null,
        long maxShardBytes = SafetensorsWriter.DefaultShardBytes
    )
    {
        LibTorch.EnsureLoaded();
        var tensors = Tensors(model, type);
        var main = tensors.MaxBy(t => t.ByteCount)!.Type;
        AtomicFile.WriteDirectory(
            output,
            folder =>
            {
                SafetensorsWriter.WriteModel(folder, tensors, maxShardBytes);
                AtomicFile.WriteText(Path.Combine(folder, CheckpointDirectory.ConfigFile), ModelConfigWriter.Create(model.Config, main));
                AtomicFile.WriteText(Path.Combine(folder, "generation_config.json"), model.GenerationConfigText);
                model.WriteTokenizer(folder);
            },
            withChecksums: true
        );
    }

    private static List<TensorToWrite> Tensors(GgufModel model, ScalarType? type)
    {
        using var described = ModelLoader.Describe(model.Config);
        var left = model.Tensors.Keys.ToHashSet(StringComparer.Ordinal);
        var tensors = new List<TensorToWrite>();
        foreach (var weight in described.Weights)
        {
            if (!model.Tensors.TryGetValue(weight.Name, out var info))
                throw new CheckpointException($"{model.Path} has no tensor for '{weight.Name}' [{string.Join(", ", weight.Shape)}].");
            if (!info.Shape.SequenceEqual(weight.Shape))
                throw new CheckpointException(
                    $"{info.File}: '{weight.Name}' is [{string.Join(", ", info.Shape)}], but the metadata requires "
                        + $"[{string.Join(", ", weight.Shape)}]."
                );
            left.Remove(weight.Name);
            tensors.Add(new(weight.Name, type ?? info.Type, info.Shape, () => Read(model, weight.Name)));
        }
        return left.Count == 0
            ? tensors
            : throw new CheckpointException(
                $"{model.Path}: '{left.First()}'{(left.Count > 1 ? $" (and {left.Count - 1} other tensors)" : "")} does not belong "
                    + "to the model that the metadata describes."
            );
    }

    private static Tensor Read(GgufModel model, string name)
    {
        var value = model.Weights.Open(name);
        var info = model.Tensors[name];
        TensorNumbers.RequireFinite(value, info);
        return value;
    }
}
