using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Runs;

/// <summary>Creates an untrained model as a Hugging Face folder, for training from scratch.</summary>
internal static class NewModel
{
    /// <summary>
    /// Writes the folder: the config with the given context, random weights, and the tokenizer's files with its chat template. Matrices are
    /// normally distributed with the config's <c>initializer_range</c>. Those that write into the residual stream are divided by sqrt(2
    /// layers), as in GPT-2, so that its size does not grow with depth. Norms are one.
    /// </summary>
    /// <param name="folder">The folder to create.</param>
    /// <param name="configFile">
    /// A <c>config.json</c>; its <c>torch_dtype</c> is the type of the weights before and after training. Default float32.
    /// </param>
    /// <param name="tokenizer">Folder of the tokenizer, whose files are copied; null for none.</param>
    /// <param name="context">Tokens in a sequence: the new model's context.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    public static void Write(string folder, string configFile, string? tokenizer, int context, int seed)
    {
        LibTorch.EnsureLoaded();
        var text = ModelConfigReader.ReadText(configFile);
        var config = ModelConfigReader.Parse(text, configFile) with { MaxPositions = context };
        using var model = ModelLoader.Create(config, seed);
        using (no_grad())
        {
            var share = 1 / Math.Sqrt(2.0 * config.LayerCount);
            foreach (var layer in model.Blocks.SelectMany(b => b.Mlp.Outputs.Prepend(b.AttentionOutput)))
                GetMatrix(layer).mul_(Scalars.Of(share));
        }
        var type = TypeOf(text, configFile);
        AtomicFile.WriteDirectory(
            folder,
            path =>
            {
                SafetensorsWriter.WriteModel(path, [.. model.Weights.Select(w => new TensorToWrite(w.Name, type, w.Shape, w.Value.alias))]);
                AtomicFile.WriteText(Path.Combine(path, CheckpointDirectory.ConfigFile), ModelConfigWriter.Update(text, config, type));
                foreach (var file in tokenizer is null ? [] : CompanionFiles(tokenizer))
                    File.Copy(file, Path.Combine(path, Path.GetFileName(file)));
            },
            withChecksums: true
        );
    }

    private static Tensor GetMatrix(LinearLayer layer) =>
        layer.Projection switch
        {
            DenseProjection dense => dense.Weight.Value,
            StackedProjection expert => expert.GetMatrix(),
            _ => throw new InvalidOperationException($"'{layer.Name}' of a new model is not a plain matrix."),
        };

    private static ScalarType TypeOf(string config, string file)
    {
        using var json = WholeJson.Parse(config);
        var name =
            json.RootElement.TryGetProperty("dtype", out var value) || json.RootElement.TryGetProperty("torch_dtype", out value)
                ? value.GetString()
                : null;
        return name switch
        {
            null or "float32" => ScalarType.Float32,
            "bfloat16" => ScalarType.BFloat16,
            "float16" => ScalarType.Float16,
            _ => throw new CheckpointException($"{file}: torch_dtype is '{name}', but a new model must be float32, bfloat16 or float16."),
        };
    }

    // The chat template too: conversations are learned and answered with it.
    private static string[] CompanionFiles(string tokenizer)
    {
        string In(string name) => Path.Combine(tokenizer, name);
        return File.Exists(In("tokenizer.json")) || File.Exists(In("tokenizer.model"))
            ? [.. CheckpointDirectory.TokenizerFiles.Select(In).Where(File.Exists)]
            : throw new ConfigurationException($"tokenizer is '{tokenizer}', but this folder has no tokenizer.json or tokenizer.model.");
    }
}
