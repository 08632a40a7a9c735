using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The two files in which LongLoRA publishes an adapter, next to PEFT's <c>adapter_config.json</c>: <c>adapter_model.bin</c> with the LoRA
/// matrices, as PEFT wrote it before safetensors, and <c>trainable_params.bin</c> with embeddings and norms under the base model's own
/// names. LongLoRA's merge script reads both. It always rescales positions linearly, to a context that its user gives; what the adapter was
/// trained with is in a third file, <c>longlora_model.json</c>, which only this project reads.
/// <see cref="PeftFormat.Attach"/> reads them here.
/// </summary>
internal static class LongLoraPair
{
    /// <summary>Writes the trained part of a model.</summary>
    /// <param name="folder">The folder to write to.</param>
    /// <param name="set">The adapters.</param>
    /// <param name="model">The model that they are attached to.</param>
    /// <param name="basePath">Path of the base model, for <c>base_model_name_or_path</c>.</param>
    /// <param name="paddingRow">
    /// Whether to add one row to the embeddings, the mean of the others. LongLoRA's scripts add a token <c>[PAD]</c> to any tokenizer
    /// without padding, and accept only tables with its row.
    /// </param>
    /// <exception cref="ConfigurationException">Every weight is trained, or there is no LoRA.</exception>
    public static void Write(string folder, AdapterSet set, CausalLanguageModel model, string basePath, bool paddingRow)
    {
        if (set.Options.TrainEverything || set.Adapters.Count == 0)
            throw new ConfigurationException("Cannot write LongLoRA's layout because there are no LoRA matrices. Save the model itself.");
        set.RequirePlainLora("LongLoRA's layout");
        if (set.Adapters.Values.Any(a => a.Scale != set.Options.Alpha / a.A.Shape[0]))
            throw new ConfigurationException(
                "Cannot write LongLoRA's layout because its scripts scale every update by alpha / r, but this adapter uses other "
                    + "scales (rsLoRA, rank_pattern or alpha_pattern). Export the merged model instead."
            );
        TorchPickleWriter.Write(Path.Combine(folder, AdapterFiles.PickleFile), [.. PeftFormat.LoraTensors(set, model)]);
        TorchPickleWriter.Write(
            Path.Combine(folder, AdapterFiles.TrainedFile),
            [
                .. set.ModelWeights.Select(w =>
                    paddingRow && (w == model.Embedding.Weight || w.Name == model.Head.Name + ".weight")
                        ? WithMeanRow(w.Name, w.Value)
                        : TensorToWrite.Of(w.Name, w.Value)
                ),
            ]
        );
        PeftFormat.WriteConfig(folder, set, basePath, null); // fully trained weights are in the second file
        AtomicFile.WriteText(Path.Combine(folder, AdapterFiles.PositionsFile), PeftFormat.DescribePositions(model.Config) + "\n");
    }

    /// <summary>Whether LongLoRA's scripts, told only the context, compute the positions of a model that was extended.</summary>
    /// <param name="model">The extended model's config.</param>
    /// <param name="origin">The base's config.</param>
    public static bool AgreesWithScripts(ModelConfig model, ModelConfig origin)
    {
        var context = RopeScaling.GetCurrentContext(model);
        if (context <= RopeScaling.GetCurrentContext(origin))
            return PeftFormat.DescribePositions(model) == PeftFormat.DescribePositions(origin);
        return origin.RopeScaling.Kind is "default" or "linear"
            && PeftFormat.DescribePositions(model) == PeftFormat.DescribePositions(RopeScaling.Extend(origin, "linear", null, context));
    }

    private static TensorToWrite WithMeanRow(string name, Tensor table) => new(name, table.dtype, [table.size(0) + 1, table.size(1)], () =>
        {
            using var noGradient = no_grad();
            using var scope = NewDisposeScope();
            return cat([table, table.mean([0], keepdim: true)]).MoveToOuterDisposeScope();
        });
}
