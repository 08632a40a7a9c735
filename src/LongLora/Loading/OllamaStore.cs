using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Loading;

/// <summary>
/// Ollama's store: <c>manifests/HOST/NAMESPACE/NAME/TAG</c> lists the layers of a model, and <c>blobs/sha256-HASH</c> holds each. The layer
/// of the model is a GGUF file.
/// </summary>
/// <param name="roots">Folders to look in, in order.</param>
internal sealed partial class OllamaStore(IReadOnlyList<string> roots)
{
    private const string Layer = "application/vnd.ollama.image.",
        Host = "registry.ollama.ai",
        Library = "library";

    /// <summary>What a name in the store begins with.</summary>
    public const string Prefix = "ollama:";

    /// <summary>The user's store, and that of the system's service.</summary>
    public static OllamaStore Default => new(FindRoots(Environment.GetEnvironmentVariable));

    /// <summary>Where stores are: OLLAMA_MODELS, or else <c>~/.ollama/models</c> and on Linux the service's folder.</summary>
    /// <param name="variable">Gives the value of an environment variable.</param>
    public static IReadOnlyList<string> FindRoots(Func<string, string?> variable) =>
        HubCache.ReadPath(variable, "OLLAMA_MODELS") is { } root
            ? [root]
            :
            [
                Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ollama", "models"),
                .. OperatingSystem.IsLinux() ? ["/usr/share/ollama/.ollama/models"] : (string[])[],
            ];

    /// <summary>The GGUF file of a model.</summary>
    /// <param name="name"><c>name</c>, <c>name:tag</c>, <c>namespace/name:tag</c> or <c>host/namespace/name:tag</c>.</param>
    /// <exception cref="CheckpointException">It is not in the store, not all of it, or more than one GGUF file.</exception>
    public string Find(string name)
    {
        var match = NamePattern().Match(name);
        if (!match.Success || name.Contains("..", StringComparison.Ordinal))
            throw new CheckpointException($"'{Prefix}{name}' is not a name of Ollama's. Write {Prefix}NAME or {Prefix}NAME:TAG.");
        var parts = match.Groups["path"].Value.Split('/');
        string[] path =
        [
            .. ((string[])[Host, Library])[..(3 - parts.Length)],
            .. parts,
            match.Groups["tag"] is { Success: true, Value: var tag } ? tag : "latest",
        ];
        try
        {
            return roots.Select(root => FindIn(root, path, name)).FirstOrDefault(found => found is not null)
                ?? throw new CheckpointException(
                    $"There is no model '{name}' in Ollama's store ({string.Join(", ", roots)})."
                        + $"{NearestName.Hint(name, ListNames())} Get it with: ollama pull {name}"
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read Ollama's store: {e.Message} Change the permissions, or set OLLAMA_MODELS.", e);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new CheckpointException($"The manifest of '{name}' in Ollama's store is damaged. Run: ollama pull {name}", e);
        }
    }

    private static string? FindIn(string root, string[] path, string name)
    {
        var manifest = Path.Combine([root, "manifests", .. path]);
        if (!File.Exists(manifest))
            return null;
        using var text = WholeJson.Parse(File.ReadAllText(manifest));
        var layers = text
            .RootElement.GetProperty("layers")
            .EnumerateArray()
            .Select(l => (Kind: l.GetProperty("mediaType").GetString()!, Digest: l.GetProperty("digest").GetString()!, l))
            .ToList();
        if (layers.Exists(l => l.Kind == Layer + "adapter"))
            throw new CheckpointException(
                $"Cannot use '{Prefix}{name}' because it is a model with an adapter, and its model alone is another one. Give the base "
                    + "model "
                    + "and the adapter's folder, or a merged model."
            );
        var models = layers.Where(l => l.Kind == Layer + "model").ToList();
        if (models is not [var (_, digest, layer)])
            throw new CheckpointException(
                $"Cannot use '{Prefix}{name}' because its manifest lists {models.Count} model files instead of one. Use a model that "
                    + "Ollama "
                    + "keeps as one GGUF file."
            );
        if (!DigestPattern().IsMatch(digest))
            throw new CheckpointException($"The manifest of '{name}' in Ollama's store is damaged. Run: ollama pull {name}");
        var blob = new FileInfo(Path.Combine(root, "blobs", digest.Replace(':', '-')));
        var size = layer.GetProperty("size").GetInt64();
        if (!blob.Exists || blob.Length != size)
            throw new CheckpointException(
                $"'{name}' in Ollama's store is not whole: {blob.Name} has {(blob.Exists ? blob.Length : 0):N0} of {size:N0} bytes. "
                    + $"Run: ollama pull {name}"
            );
        return blob.FullName;
    }

    private IEnumerable<string> ListNames()
    {
        foreach (var manifests in roots.Select(r => Path.Combine(r, "manifests")).Where(Directory.Exists))
        {
            foreach (var file in Directory.EnumerateFiles(manifests, "*", SearchOption.AllDirectories))
            {
                var parts = Path.GetRelativePath(manifests, file).Split(Path.DirectorySeparatorChar);
                if (parts.Length != 4)
                    continue;
                var skipped =
                    parts[0] != Host ? 0
                    : parts[1] != Library ? 1
                    : 2;
                yield return $"{string.Join('/', parts[skipped..3])}:{parts[3]}";
            }
        }
    }

    [GeneratedRegex(@"^(?<path>[\w.:-]+/[\w.-]+/[\w.-]+|[\w.-]+/[\w.-]+|[\w.-]+)(:(?<tag>[\w.-]+))?$")]
    private static partial Regex NamePattern();

    [GeneratedRegex("^sha256:[0-9a-f]{64}$")]
    private static partial Regex DigestPattern();
}
