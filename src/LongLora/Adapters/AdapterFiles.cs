using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The tensors of an adapter folder from any of its files: <c>adapter_model.safetensors</c>, or PEFT's older
/// <c>adapter_model.bin</c>, with LongLoRA's <c>trainable_params.bin</c> with the embeddings and norms that PEFT did not save.
/// </summary>
internal sealed class AdapterFiles : IDisposable
{
    internal const string SafetensorsFile = "adapter_model.safetensors",
        PickleFile = "adapter_model.bin",
        TrainedFile = "trainable_params.bin",
        PositionsFile = PeftConfig.PositionsNote + ".json";
    internal const string Prefix = "base_model.model.";

    private readonly List<ITensorSource> _sources = [];
    private readonly Dictionary<string, (ITensorSource Source, TensorInfo Info)> _tensors = new(StringComparer.Ordinal);

    private AdapterFiles(string path) => Path = path;

    /// <summary>The file with the LoRA matrices.</summary>
    public string Path { get; }

    /// <summary>Whether weights are in LongLoRA's second file.</summary>
    public bool IsPair => _sources.Count > 1;

    /// <summary>
    /// The rescaled positions that the adapter was trained with, as JSON: in the metadata of the safetensors file, or in a file beside
    /// those formats that hold nothing but tensors. Null where neither has them.
    /// </summary>
    public string? Positions { get; private set; }

    /// <summary>Every tensor, named after the base model's module.</summary>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors.ToDictionary(t => t.Key, t => t.Value.Info);

    /// <summary>Opens the files of a folder. If both formats exist, safetensors is read.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged, or two contain the same tensor.</exception>
    public static AdapterFiles Open(string folder)
    {
        string In(string name) => System.IO.Path.Combine(folder, name);
        var main = File.Exists(In(SafetensorsFile)) ? SafetensorsFile : PickleFile;
        if (!File.Exists(In(main)))
            throw new CheckpointException($"Cannot load the adapter because '{folder}' has no {SafetensorsFile} or {PickleFile}.");
        var files = new AdapterFiles(In(main));
        try
        {
            files.Add(In(main));
            if (File.Exists(In(TrainedFile)))
                files.Add(In(TrainedFile));
            files.Positions =
                files._sources[0] is SafetensorsReader { Metadata: var notes } ? notes.GetValueOrDefault(PeftConfig.PositionsNote)
                : File.Exists(In(PositionsFile)) ? ReadText(In(PositionsFile))
                : null;
            return files;
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>A memory-mapped tensor; the caller disposes it.</summary>
    public Tensor OpenTensor(string name) => _tensors[name].Source.Open(_tensors[name].Info.Name);

    /// <summary>Unmaps the files.</summary>
    public void Dispose()
    {
        foreach (var source in _sources)
            source.Dispose();
    }

    private static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    private void Add(string path)
    {
        var source = WeightFile.Read(path).Open();
        _sources.Add(source);
        foreach (var (key, info) in source.Tensors)
        {
            var name = key.StartsWith(Prefix, StringComparison.Ordinal) ? key[Prefix.Length..] : key;
            if (!_tensors.TryAdd(name, (source, info)))
                throw new CheckpointException(
                    $"'{name}' is both in {_tensors[name].Info.File} and in {info.File}, but it must be in one file only. Remove "
                        + "the other file."
                );
        }
    }
}
