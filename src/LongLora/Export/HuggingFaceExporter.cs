using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// Writes a model, with whatever is attached to it merged in, as a plain Hugging Face folder that any engine loads: the base's config with
/// the new positions and context, weights in their stored types, tokenizer files along.
/// </summary>
public static class HuggingFaceExporter
{
    /// <summary>Writes the folder, all of it or nothing.</summary>
    /// <param name="output">The folder to make; one that exists is replaced.</param>
    /// <param name="model">The model, with or without adapters.</param>
    /// <param name="origin">The base's folder: gives config, stored types, the order of tensors, and tokenizer files.</param>
    /// <param name="options">The form of the weights; null for the defaults.</param>
    public static void Write(string output, CausalLanguageModel model, IModelFiles origin, ExportOptions? options = null)
    {
        options ??= new ExportOptions();
        AtomicFile.WriteDirectory(output, folder =>
        {
            var tensors = InFileOrder(Tensors(model, origin).Select(t => t with { Type = options.Type ?? t.Type }), origin);
            if (options.Pickle)
                TorchPickleWriter.WriteModel(folder, tensors, options.MaxShardBytes);
            else
                SafetensorsWriter.WriteModel(folder, tensors, options.MaxShardBytes);
            AtomicFile.WriteText(
                Path.Combine(folder, CheckpointDirectory.ConfigFile),
                ModelConfigWriter.WithQuantization(ModelConfigWriter.Update(origin.ConfigText, model.Config, options.Type), null)
            );
            origin.CopyCompanions(folder);
            if (options.TokenizerFolder is { } other)
                CopyTokenizer(folder, other);
            if (model.Config.VocabularySize > origin.Config.VocabularySize)
                PaddingToken.AddIfMissing(folder, model.Config.VocabularySize);
        });
    }

    /// <summary>Every tensor of the model with its adapters merged, in its stored type, made when its turn comes.</summary>
    internal static IEnumerable<TensorToWrite> Tensors(CausalLanguageModel model, IModelFiles origin)
    {
        var linears = model.Linears.ToDictionary(l => l.Name + ".weight");
        return model
            .Weights.Select(weight => new TensorToWrite(weight.Name, origin.Tensors[weight.Name].Type, weight.Shape, () =>
                linears.TryGetValue(weight.Name, out var layer) ? Merged(layer) : weight.Value.alias()
            ))
            .Concat(linears.Where(l => l.Value.Projection is QuantizedProjection).Select(l => Widened(l.Key, l.Value)));
    }

    // An adapter that brings a tokenizer was trained with it.
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

    // A quantised matrix goes back to the type that it was made of.
    private static TensorToWrite Widened(string name, LinearLayer layer) =>
        new(name, ((QuantizedProjection)layer.Projection).OriginalType, [layer.OutputSize, layer.InputSize], () => Merged(layer));

    // W + s B A in fp32; rounded once, to the stored type, when it is written.
    private static Tensor Merged(LinearLayer layer)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var dense = layer.Projection.ToDense();
        if (layer.Update is { } update)
            dense.add_(update.Delta(), Scalars.One);
        return dense.MoveToOuterDisposeScope();
    }
}
