using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// Writes a model, with attached adapters merged, as a plain Hugging Face folder that any engine can load: the base's config with the new
/// positions and context, weights in their stored types, and tokenizer files.
/// </summary>
public static class HuggingFaceExporter
{
    /// <summary>Writes the folder atomically.</summary>
    /// <param name="output">The folder to create. An earlier result is replaced.</param>
    /// <param name="model">The model. An attached adapter is merged.</param>
    /// <param name="options">How to write the weights. Default: safetensors in the stored types.</param>
    /// <exception cref="ConfigurationException">
    /// The model does not come from files, or the folder holds something that is not from an earlier result.
    /// </exception>
    public static void Write(string output, LoadedModel model, ExportOptions? options = null)
    {
        AtomicFile.RequireOwn(output);
        Write(output, model.Network, model.Files, options);
    }

    /// <summary>Writes the folder atomically.</summary>
    /// <param name="output">The folder to create. An earlier result is replaced.</param>
    /// <param name="model">The model, with or without adapters.</param>
    /// <param name="origin">The base's folder, for config, stored types, tensor order and tokenizer files.</param>
    /// <param name="options">How to write the weights; null for the defaults.</param>
    internal static void Write(string output, CausalLanguageModel model, IModelFiles origin, ExportOptions? options = null)
    {
        options ??= new ExportOptions();
        AtomicFile.WriteDirectory(
            output,
            folder =>
            {
                var tensors = InFileOrder(Tensors(model, origin).Select(t => t with { Type = options.Type ?? t.Type }), origin);
                if (options.Pickle)
                    TorchPickleWriter.WriteModel(folder, tensors, options.MaxShardBytes);
                else
                    SafetensorsWriter.WriteModel(folder, tensors, options.MaxShardBytes);
                AtomicFile.WriteText(
                    Path.Combine(folder, CheckpointDirectory.ConfigFile),
                    ModelConfigWriter.WithQuantization(
                        ModelConfigWriter.Update(origin.ConfigText, model.Config with { TiedEmbeddings = model.IsHeadTied }, options.Type),
                        null
                    )
                );
                origin.CopyCompanions(folder);
                if (options.TokenizerFolder is { } other)
                    CopyTokenizer(folder, other);
                if (model.Config.VocabularySize > origin.Config.VocabularySize)
                    PaddingToken.AddIfMissing(folder, model.Config.VocabularySize);
            },
            withChecksums: true
        );
    }

    /// <summary>Every tensor of the model with its adapters merged, in its stored type, created one at a time.</summary>
    /// <exception cref="ConfigurationException">A layer without a bias would get one.</exception>
    internal static IEnumerable<TensorToWrite> Tensors(CausalLanguageModel model, IModelFiles origin)
    {
        var (stacks, table) = (model.Stacks.ToDictionary(s => s.Name), model.Embedding.Weight);
        var inStacks = model.Stacks.SelectMany(s => s.Layers).ToHashSet();
        var linears = model.Linears.Where(l => !inStacks.Contains(l)).ToDictionary(l => l.Name + ".weight");
        var biases = linears.Values.Where(l => l.Update is not null).ToDictionary(l => l.Name + ".bias");
        foreach (var layer in biases.Values)
            RequireBias(layer);
        Tensor Value(Weight weight) =>
            linears.TryGetValue(weight.Name, out var layer) ? layer.Merge()
            : stacks.TryGetValue(weight.Name, out var stack) ? Merge(stack)
            : biases.TryGetValue(weight.Name, out layer) ? layer.Update!.MergeBias(layer.Projection) ?? weight.Value.alias()
            : weight == table && model.Embedding.Update is not null ? model.Embedding.Merge()
            : weight.Value.alias();
        // A head that is no longer tied gets the embeddings' type.
        ScalarType Type(string name) => origin.Tensors.TryGetValue(name, out var stored) ? stored.Type : origin.Tensors[table.Name].Type;
        var tensors = model
            .Weights.Select(weight => new TensorToWrite(weight.Name, Type(weight.Name), weight.Shape, () => Value(weight)))
            .Concat(linears.Where(l => l.Value.Projection is QuantizedProjection).Select(l => Widened(l.Key, l.Value)))
            .Concat(
                model
                    .Stacks.Where(s => s.Layers[0].Projection is QuantizedProjection)
                    .Select(s => new TensorToWrite(
                        s.Name,
                        ((QuantizedProjection)s.Layers[0].Projection).OriginalType,
                        s.GetShape(s.Layers.Count),
                        () => Merge(s)
                    ))
            );
        var head = model.Head.Name + ".weight";
        return model.Config.TiedEmbeddings && !model.IsHeadTied
            ? tensors.Append(new(head, Type(head), table.Shape, model.Head.Merge))
            : tensors;
    }

    private static void RequireBias(LinearLayer layer)
    {
        if (layer.Projection.Bias is not null)
            return;
        using var bias = layer.Update!.MergeBias(layer.Projection);
        if (bias is not null)
            throw new ConfigurationException(
                $"Cannot merge the adapter because it has lora_bias, but '{layer.Name}' has no bias to add it to. Use the adapter "
                    + "with its base instead."
            );
    }

    // If an adapter has a tokenizer, it was trained with it.
    private static void CopyTokenizer(string folder, string from)
    {
        if (!File.Exists(Path.Combine(from, "tokenizer.model")) && !File.Exists(Path.Combine(from, "tokenizer.json")))
            return;
        foreach (var name in CheckpointDirectory.TokenizerFiles)
        {
            File.Delete(Path.Combine(folder, name));
            if (File.Exists(Path.Combine(from, name)))
                File.Copy(Path.Combine(from, name), Path.Combine(folder, name));
        }
    }

    /// <summary>The tensors in the order of the origin's files.</summary>
    internal static List<TensorToWrite> InFileOrder(IEnumerable<TensorToWrite> tensors, IModelFiles origin)
    {
        var places = origin.Tensors.Keys.Index().ToDictionary(p => p.Item, p => p.Index);
        return [.. tensors.OrderBy(t => places.GetValueOrDefault(t.Name, int.MaxValue))];
    }

    // A quantized matrix gets its original type back.
    private static TensorToWrite Widened(string name, LinearLayer layer) =>
        new(name, ((QuantizedProjection)layer.Projection).OriginalType, [layer.OutputSize, layer.InputSize], layer.Merge);

    // The matrices of all experts in the tensor that holds them.
    private static Tensor Merge(ExpertStack stack)
    {
        using var noGradient = no_grad();
        var shape = stack.GetShape(stack.Layers.Count);
        var result = empty(shape, ScalarType.Float32);
        for (var e = 0; e < stack.Layers.Count; e++)
        {
            using var scope = NewDisposeScope();
            var own = stack.Layers[e].Merge();
            result.select(0, e).copy_(stack.IsTransposed ? own.t() : own);
        }
        return result;
    }
}
