using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;

namespace LongLora.Export;

/// <summary>
/// Writes a quantized model as a Hugging Face folder in bitsandbytes' layout, so it does not have to be quantized again when it is loaded.
/// transformers reads this layout, but this was not tested. Embeddings, norms and head stay in their stored types.
/// </summary>
internal static class QuantizedCheckpoint
{
    /// <summary>Writes the folder atomically.</summary>
    /// <param name="output">The folder to create; an existing one is replaced.</param>
    /// <param name="model">A model with quantized matrices; attached adapters cannot be merged and are refused.</param>
    /// <param name="origin">The folder that it was loaded from, for config and tokenizer files.</param>
    /// <exception cref="ConfigurationException">The model is not quantized, or has adapters.</exception>
    public static void Write(string output, CausalLanguageModel model, IModelFiles origin)
    {
        if (model.Linears.Append(model.Head).Any(l => l.Update is not null) || model.Embedding.Update is not null)
            throw new ConfigurationException(
                "Cannot merge adapters into quantized matrices. Merge them into a full-precision model first, then quantize it."
            );
        var quantized = model
            .Linears.Where(l => l.Projection is QuantizedProjection)
            .Select(l => (l.Name, Matrix: (QuantizedProjection)l.Projection))
            .ToList();
        if (quantized.Count == 0)
            throw new ConfigurationException("The model is not quantized. Load it with quantization nf4 or int8.");
        var tensors = model.Weights.Select(w => TensorToWrite.Of(w.Name, w.Value)).ToDictionary(t => t.Name);
        var stored = quantized
            .SelectMany(q => q.Matrix.ToStoredTensors(q.Name).Select(t => (Tensor: t, Weight: q.Name + ".weight")))
            .ToList();
        var places = origin.Tensors.Keys.Index().ToDictionary(p => p.Item, p => p.Index);
        List<TensorToWrite> ordered =
        [
            .. tensors
                .Values.Select(t => (Tensor: t, Weight: t.Name))
                .Concat(stored)
                .OrderBy(t => places.GetValueOrDefault(t.Weight, int.MaxValue))
                .Select(t => t.Tensor),
        ];
        AtomicFile.WriteDirectory(
            output,
            folder =>
            {
                SafetensorsWriter.WriteModel(folder, ordered);
                AtomicFile.WriteText(
                    Path.Combine(folder, CheckpointDirectory.ConfigFile),
                    ModelConfigWriter.WithQuantization(
                        ModelConfigWriter.Update(origin.ConfigText, model.Config),
                        Config(quantized[0].Matrix, model.Head.Name)
                    )
                );
                origin.CopyCompanions(folder);
            },
            withChecksums: true
        );
    }

    // transformers' BitsAndBytesConfig.
    private static JsonObject Config(QuantizedProjection matrix, string head)
    {
        var nf4 = matrix.Kind == QuantizationKind.Nf4;
        return new JsonObject
        {
            ["_load_in_4bit"] = nf4,
            ["_load_in_8bit"] = !nf4,
            ["bnb_4bit_compute_dtype"] = Nf4Format.GetName(matrix.OriginalType),
            ["bnb_4bit_quant_storage"] = "uint8",
            ["bnb_4bit_quant_type"] = nf4 ? "nf4" : "fp4",
            ["bnb_4bit_use_double_quant"] = nf4,
            ["llm_int8_enable_fp32_cpu_offload"] = false,
            ["llm_int8_has_fp16_weight"] = false,
            ["llm_int8_skip_modules"] = new JsonArray(head),
            ["llm_int8_threshold"] = 6.0,
            ["load_in_4bit"] = nf4,
            ["load_in_8bit"] = !nf4,
            ["quant_method"] = "bitsandbytes",
        };
    }
}
