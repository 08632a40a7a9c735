using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A Hugging Face model folder: <c>config.json</c>, the weights in <c>model.safetensors</c> or <c>pytorch_model.bin</c> or in shards of
/// either with an index, and the files that go along with them. Opening it reads the headers alone; a file is mapped when its first
/// tensor is opened.
/// </summary>
/// <remarks>Where a folder has its weights in both forms, safetensors is read and the other left aside.</remarks>
public sealed class CheckpointDirectory : ITensorSource
{
    internal const string ConfigFile = "config.json",
        WeightsFile = "model.safetensors",
        IndexFile = "model.safetensors.index.json",
        PickleFile = "pytorch_model.bin",
        PickleIndexFile = "pytorch_model.bin.index.json";

    // What a tokenizer and a text generator need, and what a licence asks to be handed on. A README speaks of the original alone.
    internal static readonly string[] TokenizerFiles =
    [
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    ];

    private static readonly string[] s_companions =
    [
        .. TokenizerFiles,
        "generation_config.json",
        "LICENSE*",
        "LICENCE*",
        "NOTICE*",
        "USE_POLICY*",
    ];

    private static readonly string[] s_heads = ["lm_head.weight", "embed_out.weight"],
        s_embeddings = ["model.embed_tokens.weight", "gpt_neox.embed_in.weight"];

    private readonly Dictionary<string, ITensorSource> _mapped = new(StringComparer.Ordinal);
    private readonly OrderedDictionary<string, TensorInfo> _tensors = new(StringComparer.Ordinal);
    private readonly List<WeightFile> _files;
    private bool _closed;

    private CheckpointDirectory(string path, string configText, ModelConfig config, List<WeightFile> files)
    {
        (Path, ConfigText, Config, _files) = (path, configText, config, files);
        foreach (var (name, info) in files.SelectMany(f => f.Tensors))
        {
            if (!_tensors.TryAdd(name, info))
                throw new CheckpointException(
                    $"'{name}' is both in {_tensors[name].File} and in {info.File}. Only one of them can hold; remove the other file, "
                        + $"or mend the index."
                );
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
    public IReadOnlyList<string> WeightFiles => [.. _files.Select(f => f.Path)];

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => _files.Sum(f => f.DataBytes);

    /// <summary>
    /// Full paths of the files that a changed copy of the model needs beside config and weights: tokenizer, chat template, generation
    /// defaults, licence.
    /// </summary>
    public IReadOnlyList<string> Companions =>
        [.. s_companions.SelectMany(pattern => Directory.EnumerateFiles(Path, pattern).Order(StringComparer.Ordinal))];

    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="headersOnly">To look at the folder alone: no tensor can be opened.</param>
    /// <exception cref="CheckpointException">It is no model folder, a shard is missing, or a file is damaged or not supported.</exception>
    public static CheckpointDirectory Open(string path, bool headersOnly = false)
    {
        const string needed =
            "Give the folder of a Hugging Face model, with " + ConfigFile + " and " + WeightsFile + " or " + PickleFile + ".";
        if (!Directory.Exists(path))
            throw new CheckpointException(
                File.Exists(path) ? $"'{path}' is a file. {needed}" : $"There is no model folder '{path}'. {needed}"
            );
        var configFile = System.IO.Path.Combine(path, ConfigFile);
        if (!File.Exists(configFile))
        {
            throw new CheckpointException(
                $"'{path}' has no {ConfigFile}. "
                    + (
                        File.Exists(System.IO.Path.Combine(path, "adapter_config.json"))
                            ? "It is an adapter: give its base model as the model, and this folder as the adapter."
                        : File.Exists(System.IO.Path.Combine(path, "params.json"))
                            ? "With params.json it is a checkpoint in Meta's own layout: convert it to Hugging Face's first, with the "
                                + "script convert_llama_weights_to_hf.py of transformers."
                        : needed
                    )
            );
        }
        var text = ModelConfigReader.ReadText(configFile);
        var folder = new CheckpointDirectory(path, text, ModelConfigReader.Parse(text, configFile), ReadHeaders(path));
        folder.DropTiedHead();
        folder._closed = headersOnly;
        return folder;
    }

    /// <inheritdoc/>
    public Tensor Open(string name)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        var info = Find(name);
        if (!_mapped.TryGetValue(info.File, out var reader))
            _mapped.Add(info.File, reader = FindFile(info).Open());
        return reader.Open(name);
    }

    /// <inheritdoc/>
    public void Visit(string name, Action<Tensor> use)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        // A mapping of its own, gone with its pages when the tensor has been read.
        using var reader = FindFile(Find(name)).Open();
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

    private TensorInfo Find(string name) =>
        _tensors.TryGetValue(name, out var info)
            ? info
            : throw new CheckpointException($"'{Path}' has no tensor '{name}'.{NearestName.Hint(name, _tensors.Keys)}");

    private WeightFile FindFile(TensorInfo info) => _files.First(f => f.Path == info.File);

    // PyTorch's files hold the head of a tied model a second time, as the same data under another name.
    private void DropTiedHead()
    {
        foreach (var head in s_heads.Where(_ => Config.TiedEmbeddings))
        {
            if (
                _files
                    .SelectMany(f => f.Aliases)
                    .Any(a => (a.Key == head && s_embeddings.Contains(a.Value)) || (a.Value == head && s_embeddings.Contains(a.Key)))
            )
                _tensors.Remove(head);
        }
    }

    private static List<WeightFile> ReadHeaders(string path) =>
        ReadHeaders(path, WeightsFile, IndexFile)
        ?? ReadHeaders(path, PickleFile, PickleIndexFile)
        ?? throw new CheckpointException(ExplainNoWeights(path));

    private static List<WeightFile>? ReadHeaders(string path, string whole, string index)
    {
        if (File.Exists(System.IO.Path.Combine(path, index)))
            return ReadShards(path, whole, index);
        var file = System.IO.Path.Combine(path, whole);
        return File.Exists(file) ? [WeightFile.Read(file)] : null;
    }

    private static List<WeightFile> ReadShards(string path, string whole, string index)
    {
        var map = CheckpointIndex.Read(System.IO.Path.Combine(path, index));
        var shards = map.Values.Distinct().Order(StringComparer.Ordinal).ToList();
        var missing = shards.Where(s => !File.Exists(System.IO.Path.Combine(path, s))).ToList();
        if (missing.Count > 0)
            throw new CheckpointException(
                $"'{path}' lacks {string.Join(", ", missing)}: {missing.Count} of the {shards.Count} shards that {index} names. Fetch "
                    + $"what is missing."
            );
        if (File.Exists(System.IO.Path.Combine(path, whole)) && !shards.Contains(whole))
            throw new CheckpointException(
                $"'{path}' has both {whole} and {index} with other files: two sets of weights. Remove one of them."
            );

        var files = shards.ConvertAll(s => WeightFile.Read(System.IO.Path.Combine(path, s)));
        for (var i = 0; i < shards.Count; i++)
            CheckShard(files[i], shards[i], index, map);
        return files;
    }

    private static void CheckShard(WeightFile header, string shard, string index, Dictionary<string, string> map)
    {
        foreach (var (name, file) in map)
        {
            if (file == shard && !header.Tensors.ContainsKey(name))
                throw new CheckpointException(
                    $"{header.Path} has no tensor '{name}', which {index} places there. The files do not belong together; fetch them again."
                );
        }
        foreach (var name in header.Tensors.Keys)
        {
            if (!map.TryGetValue(name, out var file))
                throw new CheckpointException(
                    $"{header.Path} has a tensor '{name}' that {index} does not list. The files do not belong together; fetch them again."
                );
            if (file != shard)
                throw new CheckpointException(
                    $"{header.Path} has a tensor '{name}' that {index} places in {file}. The files do not belong together; fetch them "
                        + $"again."
                );
        }
    }

    private static string ExplainNoWeights(string path)
    {
        var shard = Directory
            .EnumerateFiles(path, "model-*-of-*.safetensors")
            .Concat(Directory.EnumerateFiles(path, "pytorch_model-*-of-*.bin"))
            .Order(StringComparer.Ordinal)
            .FirstOrDefault();
        var why = shard is not null
            ? $"It has {System.IO.Path.GetFileName(shard)}, a shard, but the index of the shards is missing."
            : "The weights of the model are missing.";
        return $"'{path}' has neither {WeightsFile} nor {IndexFile}, nor {PickleFile} or {PickleIndexFile}. {why}";
    }
}
