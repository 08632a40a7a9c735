using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A Hugging Face model folder: <c>config.json</c>, the weights in <c>model.safetensors</c>, in <c>pytorch_model.bin</c> or in shards of
/// either with an index, and the files that belong to them. Opening it reads only the headers. A file is mapped when its first tensor is
/// opened.
/// </summary>
/// <remarks>If a folder has its weights in both formats, safetensors is read and the other format is ignored.</remarks>
internal sealed class CheckpointDirectory : ITensorSource, IModelFiles
{
    internal const string ConfigFile = "config.json",
        WeightsFile = "model.safetensors",
        IndexFile = "model.safetensors.index.json",
        PickleFile = "pytorch_model.bin",
        PickleIndexFile = "pytorch_model.bin.index.json";

    // What a tokenizer and a text generator need, and what a license requires to be passed on. A README describes only the original.
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
    private readonly Dictionary<string, string> _storedNames = new(StringComparer.Ordinal); // of the text part of a multimodal model
    private readonly List<WeightFile> _files;
    private bool _closed;

    private CheckpointDirectory(string path, string configText, ModelConfig config, List<WeightFile> files)
    {
        (Path, ConfigText, Config, _files) = (path, configText, config, files);
        var isPart = TextPart.IsIn(files.SelectMany(f => f.Tensors.Keys));
        foreach (var (stored, whole) in files.SelectMany(f => f.Tensors))
        {
            var (name, info) = (stored, whole);
            if (isPart)
            {
                if (TextPart.GetName(stored) is not { } own)
                {
                    OtherParts = (OtherParts.Tensors + 1, OtherParts.Bytes + whole.ByteCount);
                    continue;
                }
                (name, info) = (own, whole with { Name = own });
                _storedNames[own] = stored;
            }
            if (!_tensors.TryAdd(name, info))
                throw new CheckpointException(
                    $"'{name}' is both in {_tensors[name].File} and in {info.File}, but it must be in one file only. Remove the "
                        + "other file, or correct the index."
                );
        }
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The content of <c>config.json</c>.</summary>
    public ModelConfig Config { get; }

    /// <summary>The text of <c>config.json</c>, for <see cref="ModelConfigWriter.Update"/>.</summary>
    public string ConfigText { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <summary>
    /// The family of the whole model where this is the text part of a multimodal one, such as <c>gemma3</c>; null for a model of text
    /// alone. Of such a model the language model is read under the names that it has alone, and nothing else.
    /// </summary>
    public string? TextPartOf =>
        OtherParts.Tensors > 0 || _storedNames.Count > 0 ? ModelConfigReader.GetWholeFamily(ConfigText) ?? "multimodal" : null;

    /// <summary>Tensors of a multimodal model that do not belong to its text part, and their bytes.</summary>
    public (int Tensors, long Bytes) OtherParts { get; private init; }

    /// <summary>Full paths of the files with weights, with shards in order.</summary>
    public IReadOnlyList<string> WeightFiles => [.. _files.Select(f => f.Path)];

    /// <inheritdoc/>
    public IReadOnlyList<string> ContentFiles => [System.IO.Path.Combine(Path, ConfigFile), .. WeightFiles];

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => _files.Sum(f => f.DataBytes) - OtherParts.Bytes;

    /// <summary>
    /// Full paths of the other files that a changed copy of the model needs: tokenizer, chat template, generation defaults, license.
    /// </summary>
    public IReadOnlyList<string> Companions =>
        [.. s_companions.SelectMany(pattern => Directory.EnumerateFiles(Path, pattern).Order(StringComparer.Ordinal))];

    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="headersOnly">Only reads the headers; no tensor can be opened.</param>
    /// <exception cref="CheckpointException">
    /// It is not a model folder, a shard is missing, or a file is damaged or not supported.
    /// </exception>
    public static CheckpointDirectory Open(string path, bool headersOnly = false)
    {
        const string needed =
            "Give the folder of a Hugging Face model with " + ConfigFile + " and " + WeightsFile + " or " + PickleFile + ".";
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
                            ? "It has params.json, so it is a checkpoint in Meta's own layout. Convert it to Hugging Face's layout "
                                + "first, with the script convert_llama_weights_to_hf.py of transformers."
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
    public void CopyCompanions(string folder)
    {
        foreach (var file in Companions)
        {
            AtomicFile.Write(System.IO.Path.Combine(folder, System.IO.Path.GetFileName(file)), target =>
            {
                using var source = File.OpenRead(file);
                source.CopyTo(target);
            });
        }
    }

    /// <inheritdoc/>
    public Tensor Open(string name)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        var info = Find(name);
        if (!_mapped.TryGetValue(info.File, out var reader))
            _mapped.Add(info.File, reader = FindFile(info).Open());
        return reader.Open(_storedNames.GetValueOrDefault(name, name));
    }

    /// <inheritdoc/>
    public void Visit(string name, Action<Tensor> use)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        // A separate mapping, whose pages are freed when the tensor has been read.
        using var reader = FindFile(Find(name)).Open();
        using var tensor = reader.Open(_storedNames.GetValueOrDefault(name, name));
        use(tensor);
    }

    /// <summary>Unmaps all files. Tensors that came from them must not be used afterwards.</summary>
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

    // PyTorch's files contain the head of a tied model a second time, as the same data under another name.
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

    private static List<WeightFile> ReadHeaders(string path)
    {
        var hasPickles =
            File.Exists(System.IO.Path.Combine(path, PickleFile)) || File.Exists(System.IO.Path.Combine(path, PickleIndexFile));
        return ReadHeaders(path, WeightsFile, IndexFile, hasOthers: hasPickles)
            ?? ReadHeaders(path, PickleFile, PickleIndexFile, hasOthers: false)
            ?? throw new CheckpointException(ExplainNoWeights(path));
    }

    private static List<WeightFile>? ReadHeaders(string path, string whole, string index, bool hasOthers)
    {
        var file = System.IO.Path.Combine(path, whole);
        if (File.Exists(System.IO.Path.Combine(path, index)) && ReadShards(path, whole, index, hasOthers) is { } shards)
            return shards;
        return File.Exists(file) ? [WeightFile.Read(file)] : null;
    }

    // Null for an index that was left behind by another form of the model: its shards are not there, and other weights are. As in
    // transformers, a whole file counts then.
    private static List<WeightFile>? ReadShards(string path, string whole, string index, bool hasOthers)
    {
        var map = CheckpointIndex.Read(System.IO.Path.Combine(path, index));
        var shards = map.Values.Distinct().Order(StringComparer.Ordinal).ToList();
        var missing = shards.Where(s => !File.Exists(System.IO.Path.Combine(path, s))).ToList();
        var hasWhole = File.Exists(System.IO.Path.Combine(path, whole)) && !shards.Contains(whole);
        if (missing.Count > 0 && (hasWhole || (hasOthers && missing.Count == shards.Count)))
            return null;
        if (missing.Count > 0)
            throw new CheckpointException(
                $"'{path}' lacks {string.Join(", ", missing)}: {missing.Count} of the {shards.Count} shards that {index} lists. "
                    + "Download the missing files."
            );
        if (hasWhole)
            throw new CheckpointException(
                $"'{path}' has {whole} and also {index}, which lists other files. These are two sets of weights. Remove one of them."
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
                    $"{header.Path} does not have the tensor '{name}' that {index} lists for it. The files do not match. Download "
                        + "them again."
                );
        }
        foreach (var name in header.Tensors.Keys)
        {
            if (!map.TryGetValue(name, out var file))
                throw new CheckpointException(
                    $"{header.Path} has a tensor '{name}' that {index} does not list. The files do not match. Download them again."
                );
            if (file != shard)
                throw new CheckpointException(
                    $"{header.Path} has a tensor '{name}' that {index} lists for {file}. The files do not match. Download them again."
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
            ? $"It has the shard {System.IO.Path.GetFileName(shard)}, but the index of the shards is missing."
            : "The weights of the model are missing.";
        return $"'{path}' has none of {WeightsFile}, {IndexFile}, {PickleFile} and {PickleIndexFile}. {why}";
    }
}
