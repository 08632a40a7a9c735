using LongLora.Checkpoints;
using LongLora.Runtime;

namespace LongLora.Loading;

/// <summary>
/// The cache of Hugging Face's programs, which all of them share: <c>models--org--name/</c> with <c>refs/</c> (branches and tags, each with
/// its commit), <c>snapshots/COMMIT/</c> (the files, as links or copies) and <c>blobs/</c> (their content under its hash). It is only read
/// here, and no network is asked.
/// </summary>
/// <param name="root">The folder of the cache.</param>
internal sealed class HubCache(string root)
{
    internal const string Refs = "refs",
        Snapshots = "snapshots",
        Blobs = "blobs";

    private static readonly string[] s_weights =
    [
        CheckpointDirectory.WeightsFile,
        CheckpointDirectory.IndexFile,
        CheckpointDirectory.PickleFile,
        CheckpointDirectory.PickleIndexFile,
    ];

    /// <summary>The user's cache.</summary>
    public static HubCache Default => new(FindRoot(Environment.GetEnvironmentVariable));

    /// <summary>The folder of the cache.</summary>
    public string Root { get; } = root;

    /// <summary>
    /// Where the cache is: HF_HUB_CACHE, the older HUGGINGFACE_HUB_CACHE, <c>hub</c> in HF_HOME, in XDG_CACHE_HOME, or in the home folder.
    /// </summary>
    /// <param name="variable">Gives the value of an environment variable.</param>
    public static string FindRoot(Func<string, string?> variable) =>
        ReadPath(variable, "HF_HUB_CACHE") ?? ReadPath(variable, "HUGGINGFACE_HUB_CACHE") ?? Path.Combine(FindHome(variable), "hub");

    /// <summary>The folder of Hugging Face's settings and caches: HF_HOME, or <c>~/.cache/huggingface</c>.</summary>
    /// <param name="variable">Gives the value of an environment variable.</param>
    public static string FindHome(Func<string, string?> variable) =>
        ReadPath(variable, "HF_HOME")
        ?? Path.Combine(ReadPath(variable, "XDG_CACHE_HOME") ?? Path.Combine(UserFolder, ".cache"), "huggingface");

    /// <summary>A path in an environment variable, with <c>~</c> for the home folder; null if it is not set.</summary>
    /// <param name="variable">Gives the value of an environment variable.</param>
    /// <param name="name">Its name.</param>
    public static string? ReadPath(Func<string, string?> variable, string name) =>
        variable(name) is not { Length: > 0 } path ? null
        : path == "~" || path.StartsWith("~/", StringComparison.Ordinal) ? UserFolder + path[1..]
        : path;

    /// <summary>The folder of a repository, whether it exists or not.</summary>
    public string GetFolder(HubName name) => Path.Combine(Root, name.Folder);

    /// <summary>The folder with the files of one commit, whether it exists or not.</summary>
    public string GetSnapshot(HubName name, string commit) => Path.Combine(GetFolder(name), Snapshots, commit);

    /// <summary>The commit that a name means and whose files are in the cache.</summary>
    /// <exception cref="CheckpointException">It is not in the cache; the message says how to get it.</exception>
    public string FindCommit(HubName name)
    {
        var folder = GetFolder(name);
        if (!Directory.Exists(folder))
            throw Refuse(
                name,
                $"There is no {name.Kind} '{name}': no folder or file has this name, and the Hugging Face cache '{Root}' does not have it. "
                    + $"Get it with: {name.PullCommand}"
            );
        var revision = name.Revision ?? HubName.DefaultRevision;
        var commit = IsCommit(revision) ? revision : ReadRef(Path.Combine(folder, Refs, revision));
        if (commit is not null && Directory.Exists(GetSnapshot(name, commit)))
            return commit;
        var known = ListRevisions(folder);
        throw Refuse(
            name,
            $"The Hugging Face cache has '{name.Repository}', but not its revision '{revision}'"
                + $"{(known.Count > 0 ? $" (it has {string.Join(", ", known.Take(5))})" : "")}. Get it with: {name.PullCommand}"
        );
    }

    /// <summary>The folder, or the GGUF file, of a whole model.</summary>
    /// <exception cref="CheckpointException">It is not in the cache, or not all of it; the message says how to get it.</exception>
    public (string Path, string Commit) FindModel(HubName name)
    {
        var commit = FindCommit(name);
        var snapshot = GetSnapshot(name, commit);
        if (name.Part is not null || !File.Exists(Path.Combine(snapshot, CheckpointDirectory.ConfigFile)))
        {
            if (GgufFolder.Find(snapshot, name.Part, name.ToString()) is { } file)
                return (file, commit);
        }
        return FindMissing(snapshot, Path.Combine(GetFolder(name), Blobs)) is { } missing
            ? throw Refuse(
                name,
                $"The copy of '{name}' in the Hugging Face cache is not whole: {missing} is missing. Its download was interrupted, or only "
                    + $"some files were asked for. Get the rest with: {name.PullCommand}"
            )
            : (snapshot, commit);
    }

    /// <summary>The folder with the files of a data set.</summary>
    /// <exception cref="DataException">It is not in the cache; the message says how to get it.</exception>
    public string FindDataset(HubName name) => GetSnapshot(name, FindCommit(name));

    /// <summary>Whether a text is a whole commit hash.</summary>
    public static bool IsCommit(string text) => text.Length == 40 && text.All(char.IsAsciiHexDigitLower);

    private static string UserFolder => Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);

    private static LongLoraException Refuse(HubName name, string message) =>
        name.IsDataset ? new DataException(message) : new CheckpointException(message);

    private static string? ReadRef(string file) =>
        File.Exists(file) && File.ReadAllText(file).Trim() is var commit && IsCommit(commit) ? commit : null;

    private static List<string> ListRevisions(string folder)
    {
        var (refs, snapshots) = (Path.Combine(folder, Refs), Path.Combine(folder, Snapshots));
        IEnumerable<string> branches = Directory.Exists(refs)
            ? Directory.EnumerateFiles(refs, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(refs, f).Replace('\\', '/'))
            : [];
        var commits = Directory.Exists(snapshots) ? Directory.EnumerateDirectories(snapshots).Select(f => Path.GetFileName(f)) : [];
        return [.. branches.Order(StringComparer.Ordinal), .. commits.Order(StringComparer.Ordinal)];
    }

    // A link to a blob that is not there counts as missing. Downloads come file by file, so a snapshot with weights and config may still
    // lack its tokenizer; where a file is only partly there, that is no coincidence.
    private static string? FindMissing(string snapshot, string blobs)
    {
        bool Has(string name) => IsWhole(Path.Combine(snapshot, name));
        if (!Has(CheckpointDirectory.ConfigFile))
            return CheckpointDirectory.ConfigFile;
        if (s_weights.FirstOrDefault(Has) is not { } weights)
            return CheckpointDirectory.WeightsFile;
        if (weights.EndsWith(".index.json", StringComparison.Ordinal))
        {
            var shards = CheckpointIndex.Read(Path.Combine(snapshot, weights)).Values.Distinct();
            if (shards.Order(StringComparer.Ordinal).FirstOrDefault(s => !Has(s)) is { } shard)
                return shard;
        }
        var isPartial = Directory.Exists(blobs) && Directory.EnumerateFiles(blobs, "*.incomplete").Any();
        return isPartial && !Has("tokenizer.json") && !Has("tokenizer.model") ? "tokenizer.json"
            : isPartial && !Has("tokenizer_config.json") ? "tokenizer_config.json"
            : null;
    }

    private static bool IsWhole(string file) =>
        new FileInfo(file) is { Exists: true } info && (info.LinkTarget is null || info.ResolveLinkTarget(true) is { Exists: true });
}
