using System.Text.Json;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>A Hugging Face model folder: <c>config.json</c> and <c>model.safetensors</c>, whole or in shards, open for reading.</summary>
public sealed class CheckpointDirectory : ITensorSource
{
    private const string WholeFile = "model.safetensors", IndexFile = "model.safetensors.index.json";

    // What goes along with the weights into a merged or exported model.
    private static readonly string[] s_companions =
    [
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
        "generation_config.json", "chat_template.jinja", "chat_template.json",
    ];

    private readonly List<SafetensorsReader> _files;
    private readonly Dictionary<string, SafetensorsReader> _fileOf = [];

    private CheckpointDirectory(string path, ModelConfig config, List<SafetensorsReader> files)
    {
        (Path, Config, _files) = (path, config, files);
        foreach (var file in files)
        {
            foreach (var name in file.Tensors.Keys)
            {
                if (!_fileOf.TryAdd(name, file))
                    throw new CheckpointException($"'{name}' is both in {_fileOf[name].Path} and in {file.Path}.");
            }
        }
        Tensors = _fileOf.ToDictionary(p => p.Key, p => p.Value.Tensors[p.Key]);
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>What <c>config.json</c> says.</summary>
    public ModelConfig Config { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>The text of <c>config.json</c>.</summary>
    public string ConfigText => File.ReadAllText(System.IO.Path.Combine(Path, "config.json"));

    /// <summary>Files that belong to the model beside config and weights: tokenizer, chat template, generation defaults.</summary>
    public IEnumerable<string> Companions => s_companions.Select(n => System.IO.Path.Combine(Path, n)).Where(File.Exists);

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => _files.Sum(f => f.DataBytes);

    /// <summary>Opens a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="headersOnly">Reads names and shapes and maps nothing.</param>
    /// <exception cref="CheckpointException">It is no model folder, a shard is missing, or a file is damaged or not understood.</exception>
    public static CheckpointDirectory Open(string path, bool headersOnly = false)
    {
        if (!Directory.Exists(path))
            throw new CheckpointException($"There is no model folder '{path}'. Give the folder that holds config.json and model.safetensors.");
        var configFile = System.IO.Path.Combine(path, "config.json");
        if (!File.Exists(configFile))
            throw new CheckpointException($"'{path}' has no config.json: it is not a Hugging Face model folder.");
        var config = ModelConfigReader.ReadFile(configFile);
        var files = new List<SafetensorsReader>();
        try
        {
            var index = System.IO.Path.Combine(path, IndexFile);
            if (File.Exists(index))
            {
                OpenShards(path, index, headersOnly, files);
            }
            else
            {
                var whole = System.IO.Path.Combine(path, WholeFile);
                if (!File.Exists(whole))
                    throw new CheckpointException($"'{path}' has neither {WholeFile} nor {IndexFile}.{OtherWeights(path)}");
                files.Add(new SafetensorsReader(whole, headersOnly));
            }
            return new CheckpointDirectory(path, config, files);
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }

    /// <inheritdoc/>
    public Tensor Open(string name) => _fileOf.TryGetValue(name, out var file)
        ? file.Open(name)
        : throw new CheckpointException($"{Path}: there is no tensor '{name}'.");

    private static void OpenShards(string path, string index, bool headersOnly, List<SafetensorsReader> files)
    {
        Dictionary<string, string> map;
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllText(index));
            map = json.RootElement.GetProperty("weight_map").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetString() ?? "");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            throw new CheckpointException($"{index} is not understood: {e.Message}", e);
        }
        var shards = map.Values.Distinct().Order(StringComparer.Ordinal).ToList();
        var stray = shards.Find(s => s.Length == 0 || System.IO.Path.GetFileName(s) != s);
        if (stray is not null)
            throw new CheckpointException($"{index} names the shard '{stray}', which is not a file name.");
        var missing = shards.Where(s => !File.Exists(System.IO.Path.Combine(path, s))).ToList();
        if (missing.Count > 0)
            throw new CheckpointException($"'{path}' lacks {string.Join(", ", missing)}: {missing.Count} of {shards.Count} shards that {IndexFile} names.");
        foreach (var shard in shards)
        {
            var reader = new SafetensorsReader(System.IO.Path.Combine(path, shard), headersOnly);
            files.Add(reader);
            if (map.FirstOrDefault(p => p.Value == shard && !reader.Tensors.ContainsKey(p.Key)).Key is { } absent)
                throw new CheckpointException($"{reader.Path} has no tensor '{absent}', which {IndexFile} places there.");
        }
    }

    private static string OtherWeights(string path) => Directory.EnumerateFiles(path, "pytorch_model*.bin").Any()
        ? " It has pytorch_model.bin, which is not supported; convert it to safetensors."
        : "";

    /// <summary>Unmaps all files; a model on them must not be used any more.</summary>
    public void Dispose() => _files.ForEach(f => f.Dispose());
}
