using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A Hugging Face model folder: <c>config.json</c>, the weights in <c>model.safetensors</c> or in shards with an index, and the files that go along
/// with them. Opening reads the headers alone; a file is mapped when its first tensor is opened.
/// </summary>
public sealed class CheckpointDirectory : ITensorSource
{
    /// <summary>Name of the config.</summary>
    public const string ConfigFile = "config.json";

    /// <summary>Name of the weights where they are in one file.</summary>
    public const string WeightsFile = "model.safetensors";

    /// <summary>Name of the list of shards where there are several.</summary>
    public const string IndexFile = "model.safetensors.index.json";

    // What a tokenizer and a text generator need, and what a licence asks to be handed on. A README speaks of the original alone.
    private static readonly string[] s_companions =
    [
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "chat_template.jinja", "chat_template.json", "generation_config.json",
    ];

    private static readonly string[] s_companionPatterns = ["LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*"];

    private readonly Dictionary<string, SafetensorsReader> _open = new(StringComparer.Ordinal);
    private bool _disposed;

    private CheckpointDirectory(string path, string configText, ModelConfig config, CheckpointShards shards) =>
        (DirectoryPath, ConfigText, Config, Shards) = (path, configText, config, shards);

    /// <summary>The folder.</summary>
    public string DirectoryPath { get; }

    /// <summary>What <c>config.json</c> says.</summary>
    public ModelConfig Config { get; }

    /// <summary>The text of <c>config.json</c>, for <see cref="ModelConfigWriter.Update"/>.</summary>
    public string ConfigText { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => Shards.Tensors;

    /// <summary>Full paths of the files with weights, in the order of their names.</summary>
    public IReadOnlyList<string> WeightFiles => [.. Shards.Headers.Select(h => h.File)];

    /// <summary>
    /// Full paths of the files that a changed copy of the model needs beside config and weights: tokenizer, generation defaults, chat template, licence.
    /// </summary>
    public IReadOnlyList<string> CompanionFiles => ListCompanions(DirectoryPath);

    internal CheckpointShards Shards { get; }

    /// <summary>Opens a folder: reads its config and all headers.</summary>
    /// <exception cref="CheckpointException">The folder, its config, its weights or a shard is missing, damaged or unsupported.</exception>
    public static CheckpointDirectory Open(string path)
    {
        if (!Directory.Exists(path))
            throw new CheckpointException(File.Exists(path)
                ? $"{path} is a file; the folder of a Hugging Face model, with {ConfigFile} and {WeightsFile}, is needed."
                : $"{path} does not exist; the folder of a Hugging Face model, with {ConfigFile} and {WeightsFile}, is needed.");
        var configPath = Path.Combine(path, ConfigFile);
        if (!File.Exists(configPath))
            throw new CheckpointException($"{path} has no {ConfigFile}." + (File.Exists(Path.Combine(path, "adapter_config.json"))
                ? " It is an adapter: give the folder of its base model, and this one as the adapter." : " The folder of a Hugging Face model is needed."));
        var config = ModelConfigReader.Read(configPath);
        return new CheckpointDirectory(path, File.ReadAllText(configPath), config, CheckpointShards.Find(path));
    }

    /// <inheritdoc/>
    public Tensor Open(string name, bool _) => Open(name);

    /// <inheritdoc/>
    Tensor ITensorSource.Open(string name) => OpenTensor(name);

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        foreach (var reader in _open.Values)
            reader.Dispose();
        _open.Clear();
    }
}
