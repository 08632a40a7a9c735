using System.IO.Enumeration;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>Which files of a repository are needed: one set of weights in a format that is read, and the small files beside it.</summary>
internal static class FileChoice
{
    private const string AdapterConfig = "adapter_config.json";

    // What decides how text becomes tokens, and what a license requires to be passed on. Never code.
    private static readonly string[] s_small = [".json", ".jinja", ".model", ".txt", ".tiktoken"],
        s_notices = ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"],
        s_data = [".jsonl", ".json", ".parquet", ".txt", ".md", ".html", ".htm", ".pdf", ".docx", ".bin"],
        s_aboutData = ["README.md", "dataset_infos.json", "dataset_info.json"],
        s_otherWeights = [".safetensors", ".bin", ".pth", ".pt", ".gguf", ".h5", ".msgpack", ".onnx"];

    /// <summary>
    /// The files to get. Where the weights are in shards, the index is among them and <see cref="ListShards"/> gives the rest.
    /// </summary>
    /// <param name="name">What is asked for.</param>
    /// <param name="files">All files of the repository.</param>
    /// <param name="wanted">Only these; empty for what is needed.</param>
    /// <exception cref="ConfigurationException">There is no such file, none that is read, or several GGUF models.</exception>
    public static IReadOnlyList<string> Choose(HubName name, IReadOnlyList<string> files, IReadOnlyList<string> wanted)
    {
        if (wanted.Count > 0)
            return [.. wanted.SelectMany(w => Find(name, files, w)).Distinct()];
        return name.IsDataset ? ChooseData(name, files) : ChooseModel(name, files);
    }

    /// <summary>The index of shards among chosen files; null for none.</summary>
    public static string? FindIndex(IReadOnlyList<string> chosen) =>
        chosen.FirstOrDefault(f => f is CheckpointDirectory.IndexFile or CheckpointDirectory.PickleIndexFile);

    /// <summary>The shards that an index lists.</summary>
    /// <param name="name">What is asked for.</param>
    /// <param name="files">All files of the repository.</param>
    /// <param name="index">Path of the index on disk.</param>
    /// <exception cref="CheckpointException">The index is damaged, or the repository lacks a shard.</exception>
    public static IReadOnlyList<string> ListShards(HubName name, IReadOnlyList<string> files, string index)
    {
        List<string> shards = [.. CheckpointIndex.Read(index).Values.Distinct().Order(StringComparer.Ordinal)];
        return shards.Find(s => !files.Contains(s)) is { } missing
            ? throw new CheckpointException(
                $"Cannot get '{name}' because its index lists {missing}, which the repository does not have. Tell its authors, or give "
                    + "another revision behind '@'."
            )
            : shards;
    }

    private static IEnumerable<string> Find(HubName name, IReadOnlyList<string> files, string wanted)
    {
        var found = files.Where(f => f == wanted || FileSystemName.MatchesSimpleExpression(wanted, f, ignoreCase: false)).ToList();
        if (found is [var only])
            return GgufFolder.ListParts(files, only);
        if (found.Count > 0)
            return found;
        var models = GgufFolder.Choose(files, wanted);
        return models switch
        {
            [var model] => GgufFolder.ListParts(files, model),
            [] => throw new ConfigurationException(
                $"The {name.Kind} '{name.Repository}' has no file '{wanted}'.{NearestName.Hint(wanted, files)} It has {List(files)}."
            ),
            _ => throw new ConfigurationException(
                $"'{wanted}' fits several files of '{name.Repository}': {List(models)}. Give the whole name of one."
            ),
        };
    }

    private static List<string> ChooseModel(HubName name, IReadOnlyList<string> files)
    {
        var isAdapter = !files.Contains(CheckpointDirectory.ConfigFile) && files.Contains(AdapterConfig);
        string[] formats = isAdapter
            ? [AdapterFiles.SafetensorsFile, AdapterFiles.PickleFile]
            :
            [
                CheckpointDirectory.IndexFile,
                CheckpointDirectory.WeightsFile,
                CheckpointDirectory.PickleIndexFile,
                CheckpointDirectory.PickleFile,
            ];
        var weights = formats.FirstOrDefault(files.Contains);
        if (weights is null || (!isAdapter && !files.Contains(CheckpointDirectory.ConfigFile)))
            return ChooseGguf(name, files);
        return
        [
            .. files.Where(f => IsSmall(f) && !f.EndsWith(".index.json", StringComparison.Ordinal)),
            weights,
            // LongLoRA's published adapters have the trained embeddings and norms in a file of their own.
            .. files.Where(f => isAdapter && f == AdapterFiles.TrainedFile),
        ];
    }

    private static List<string> ChooseGguf(HubName name, IReadOnlyList<string> files) =>
        GgufFolder.Choose(files, null) switch
        {
            [var only] => [.. GgufFolder.ListParts(files, only), .. files.Where(f => IsNotice(f))],
            [] => throw new ConfigurationException(
                $"'{name.Repository}' has no model that is read here: {CheckpointDirectory.ConfigFile} with "
                    + $"{CheckpointDirectory.WeightsFile} or {CheckpointDirectory.PickleFile}, or a .gguf file. It has "
                    + $"{List([.. files.Where(f => s_otherWeights.Contains(Path.GetExtension(f)))])}. Take --file to get one of them "
                    + "anyway."
            ),
            var several => throw new ConfigurationException(
                $"'{name.Repository}' has {several.Count} GGUF files. Say which one with --file: {List(several)}."
            ),
        };

    private static List<string> ChooseData(HubName name, IReadOnlyList<string> files)
    {
        var data = files.Where(f => s_data.Contains(DataFiles.GetExtension(f)) && !s_aboutData.Contains(f) && !f.StartsWith('.')).ToList();
        return data.Count > 0
            ? [.. data, .. files.Where(IsNotice)]
            : throw new ConfigurationException(
                $"The data set '{name.Repository}' has no file that is read here ({string.Join(", ", s_data)}). It has {List(files)}."
            );
    }

    private static bool IsSmall(string file) =>
        !file.Contains('/', StringComparison.Ordinal) && (s_small.Contains(Path.GetExtension(file).ToLowerInvariant()) || IsNotice(file));

    private static bool IsNotice(string file) => s_notices.Any(n => file.StartsWith(n, StringComparison.OrdinalIgnoreCase));

    private static string List(IReadOnlyList<string> files) =>
        files.Count == 0 ? "no such file" : string.Join(", ", files.Take(12)) + (files.Count > 12 ? $" and {files.Count - 12} more" : "");
}
