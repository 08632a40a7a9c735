using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>What to get, from where, and where to put it.</summary>
public sealed record PullOptions
{
    /// <summary>
    /// <c>org/name</c>, <c>org/name@revision</c> with a branch, tag or commit, or <c>org/name:Q4_K_M</c> for one of several GGUF files.
    /// Without a revision the branch <c>main</c> is meant.
    /// </summary>
    public required string Name { get; init; }

    /// <summary>Whether it is a data set instead of a model. Default false.</summary>
    public bool IsDataset { get; init; }

    /// <summary>
    /// Only these files: paths in the repository, with <c>*</c> for anything, or the name of a GGUF quantization. Empty for all that are
    /// needed. Default empty.
    /// </summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>The server. Default https://huggingface.co.</summary>
    public Uri Endpoint { get; init; } = new("https://huggingface.co");

    /// <summary>The access token that is sent to <see cref="Endpoint"/>, and to no other server; null for none. Default null.</summary>
    public string? Token { get; init; }

    /// <summary>The folder of the cache. Default that of the user, as Hugging Face's programs find it.</summary>
    public string Cache { get; init; } = HubCache.FindRoot(Environment.GetEnvironmentVariable);

    /// <summary>Whether the network is forbidden: then everything is refused. Default false.</summary>
    public bool IsOffline { get; init; }

    /// <summary>Ranges and files that are fetched at the same time. Default 8.</summary>
    public int Connections { get; init; } = 8;

    /// <summary>Bytes of one range; null for a 64th of the file, at least 16 MiB and at most 256 MiB.</summary>
    internal long? RangeBytes { get; init; }

    /// <summary>The wait before the first repetition; each further one waits longer.</summary>
    internal TimeSpan FirstDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait that a server may ask for; beyond it the user is told instead.</summary>
    internal TimeSpan LongestDelay { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How long a server may be silent before the connection counts as cut.</summary>
    internal TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Free bytes of the disk that holds a folder; null if nobody knows.</summary>
    internal Func<string, long?> FindFreeBytes { get; init; } = DiskSpace.FindFree;

    /// <summary>
    /// Options as the environment has them: HF_ENDPOINT; HF_TOKEN or the file that <c>hf auth login</c> writes; HF_HUB_CACHE or HF_HOME;
    /// HF_HUB_OFFLINE.
    /// </summary>
    /// <param name="name">What to get; see <see cref="Name"/>.</param>
    /// <exception cref="ConfigurationException">HF_ENDPOINT is not an address.</exception>
    public static PullOptions FromEnvironment(string name) => FromEnvironment(name, Environment.GetEnvironmentVariable);

    internal static PullOptions FromEnvironment(string name, Func<string, string?> variable) =>
        new()
        {
            Name = name,
            Endpoint = ReadEndpoint(variable),
            Token = HubToken.Find(variable),
            Cache = HubCache.FindRoot(variable),
            IsOffline = IsOn(variable("HF_HUB_OFFLINE")) || IsOn(variable("TRANSFORMERS_OFFLINE")),
        };

    /// <summary>Whether a switch in the environment is on, as Hugging Face's programs read it.</summary>
    internal static bool IsOn(string? value) => value?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";

    private static Uri ReadEndpoint(Func<string, string?> variable)
    {
        if (variable("HF_ENDPOINT") is not { Length: > 0 } text)
            return new Uri("https://huggingface.co");
        return Uri.TryCreate(text, UriKind.Absolute, out var address) && address.Scheme is "http" or "https"
            ? address
            : throw new ConfigurationException(
                $"HF_ENDPOINT is '{text}', which is not an address. Set it to one such as https://huggingface.co, or remove it."
            );
    }
}
