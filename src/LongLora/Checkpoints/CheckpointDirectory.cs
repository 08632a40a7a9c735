using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A Hugging Face model folder: <c>config.json</c>, the weights in <c>model.safetensors</c> or in shards with an index, and the files that go
/// along with them. Opening it reads the headers alone; a file is mapped when its first tensor is opened.
/// </summary>
public sealed class CheckpointDirectory : ITensorSource
{
    internal const string ConfigFile = "config.json", WeightsFile = "model.safetensors", IndexFile = "model.safetensors.index.json";

    // What a tokenizer and a text generator need, and what a licence asks to be handed on. A README speaks of the original alone.
    private static readonly string[] s_companions =
    [
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "chat_template.jinja", "chat_template.json", "generation_config.json", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*",
    ];

    private readonly Dictionary<string, SafetensorsReader> _mapped = new(StringComparer.Ordinal);
    private readonly OrderedDictionary<string, TensorInfo> _tensors = new(StringComparer.Ordinal);
    private readonly List<SafetensorsHeader> _headers;
    private bool _closed;

    private CheckpointDirectory(string path, string configText, ModelConfig config, List<SafetensorsHeader> headers)
    {
        (Path, ConfigText, Config, _headers) = (path, configText, config, headers);
        foreach (var (name, info) in headers.SelectMany(h => h.Tensors))
        {
            if (!_tensors.TryAdd(name, info))
                throw new CheckpointException($"'{name}' is both in {_tensors[name].File} and in {info.File}. Only one of them can hold; remove the other file, or mend the index.");
        }
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>What <c>config.json</c> says.</summary>
    public ModelConfig Config { get; }

    /// <summary>The text of <c>config.json</c>, for <see cref="ModelConfigWriter.Update"/>.</summary>
    public string ConfigText { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <summary>Full paths of the files with weights, shards in their order.</summary>
    public IReadOnlyList<string> WeightFiles => [.. _headers.Select(h => h.Path)];

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => _headers.Sum(h => h.DataBytes);

    /// <summary>
    /// Full paths of the files that a changed copy of the model needs beside config and weights: tokenizer, chat template, generation defaults, licence.
    /// </summary>
    public IReadOnlyList<string> Companions =>
        [.. s_companions.SelectMany(pattern => Directory.EnumerateFiles(Path, pattern).Order(StringComparer.Ordinal))];

    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="headersOnly">To look at the folder alone: no tensor can be opened.</param>
    /// <exception cref="CheckpointException">It is no model folder, a shard is missing, or a file is damaged or not supported.</exception>
    public static CheckpointDirectory Open(string path, bool headersOnly = false)
    {
        const string needed = "Give the folder of a Hugging Face model, with " + ConfigFile + " and " + WeightsFile + ".";
        if (!Directory.Exists(path))
            throw new CheckpointException(File.Exists(path) ? $"'{path}' is a file. {needed}" : $"There is no model folder '{path}'. {needed}");
        var configFile = System.IO.Path.Combine(path, ConfigFile);
        if (!File.Exists(configFile))
        {
            throw new CheckpointException($"'{path}' has no {ConfigFile}. " + (File.Exists(System.IO.Path.Combine(path, "adapter_config.json"))
                ? "It is an adapter: give its base model as the model, and this folder as the adapter." : needed));
        }
        var text = ModelConfigReader.ReadText(configFile);
        return new CheckpointDirectory(path, text, ModelConfigReader.Parse(text, configFile), ReadHeaders(path)) { _closed = headersOnly };
    }

    /// <inheritdoc/>
    public Tensor Open(string name)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        var info = Find(name);
        if (!_mapped.TryGetValue(info.File, out var reader))
            _mapped.Add(info.File, reader = new SafetensorsReader(info.File));
        return reader.Open(name);
    }

    /// <inheritdoc/>
    public void Visit(string name, Action<Tensor> use)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        // A mapping of its own, gone with its pages when the tensor has been read.
        using var reader = new SafetensorsReader(Find(name).File);
        using var tensor = reader.Open(name);
        use(tensor);
    }

    /// <summary>Unmaps all files; no tensor that came from them may be used afterwards.</summary>
    public void Dispose()
    {
        _closed = true;
        foreach (var reader in _mapped.Values)
            reader.Dispose();
        _mapped.Clear();
    }

    private TensorInfo Find(string name) => _tensors.TryGetValue(name, out var info) ? info
        : throw new CheckpointException($"'{Path}' has no tensor '{name}'.{NearestName.Hint(name, _tensors.Keys)}");

    private static List<SafetensorsHeader> ReadHeaders(string path)
    {
        var whole = System.IO.Path.Combine(path, WeightsFile);
        var index = System.IO.Path.Combine(path, IndexFile);
        if (File.Exists(index))
            return ReadShards(path, index);
        return File.Exists(whole) ? [SafetensorsHeader.Read(whole)] : throw new CheckpointException(NoWeights(path));
    }

    private static List<SafetensorsHeader> ReadShards(string path, string index)
    {
        var map = CheckpointIndex.Read(index);
        var shards = map.Values.Distinct().Order(StringComparer.Ordinal).ToList();
        var missing = shards.Where(s => !File.Exists(System.IO.Path.Combine(path, s))).ToList();
        if (missing.Count > 0)
            throw new CheckpointException($"'{path}' lacks {string.Join(", ", missing)}: {missing.Count} of the {shards.Count} shards that {IndexFile} names. Fetch what is missing.");
        if (File.Exists(System.IO.Path.Combine(path, WeightsFile)) && !shards.Contains(WeightsFile))
            throw new CheckpointException($"'{path}' has both {WeightsFile} and {IndexFile} with other files: two sets of weights. Remove one of them.");

        var headers = shards.ConvertAll(s => SafetensorsHeader.Read(System.IO.Path.Combine(path, s)));
        for (var i = 0; i < shards.Count; i++)
            CheckShard(headers[i], shards[i], map);
        return headers;
    }

    private static void CheckShard(SafetensorsHeader header, string shard, Dictionary<string, string> map)
    {
        foreach (var (name, file) in map)
        {
            if (file == shard && !header.Tensors.ContainsKey(name))
                throw new CheckpointException($"{header.Path} has no tensor '{name}', which {IndexFile} places there. The files do not belong together; fetch them again.");
        }
        foreach (var name in header.Tensors.Keys)
        {
            if (!map.TryGetValue(name, out var file))
                throw new CheckpointException($"{header.Path} has a tensor '{name}' that {IndexFile} does not list. The files do not belong together; fetch them again.");
            if (file != shard)
                throw new CheckpointException($"{header.Path} has a tensor '{name}' that {IndexFile} places in {file}. The files do not belong together; fetch them again.");
        }
    }

    private static string NoWeights(string path)
    {
        var shard = Directory.EnumerateFiles(path, "model-*-of-*.safetensors").Order(StringComparer.Ordinal).FirstOrDefault();
        var why = shard is not null ? $"It has {System.IO.Path.GetFileName(shard)}, a shard, but the index of the shards is missing."
            : Directory.EnumerateFiles(path, "pytorch_model*.bin").Any() ? "It has pytorch_model.bin, which is not supported yet; take or make the model in safetensors files."
            : "The weights of the model are missing.";
        return $"'{path}' has neither {WeightsFile} nor {IndexFile}. {why}";
    }
}
