using System.Text.Json;
using System.Text.Json.Serialization;
using LongLora.Runtime;

namespace LongLora.Evaluation;

/// <summary>
/// The results of a command, as a JSON file that reports read, with one record type per kind. Numbers are written in full precision. Losses
/// are in nats per token, shares and scores are between 0 and 1, and lengths are in tokens.
/// </summary>
internal abstract record EvaluationFile
{
    /// <summary>The version of the layout that this library writes.</summary>
    public const int CurrentVersion = 1;

    private static readonly JsonSerializerOptions s_compact = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        // A bad model can have a loss that is not a number; its other results are still kept.
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    private static readonly JsonSerializerOptions s_indented = new(s_compact) { WriteIndented = true };

    private static readonly Dictionary<string, Type> s_types = new()
    {
        [PerplexityFile.KindName] = typeof(PerplexityFile),
        [RetrievalFile.KindName] = typeof(RetrievalFile),
        [RulerFile.KindName] = typeof(RulerFile),
        [AnswersFile.KindName] = typeof(AnswersFile),
        [ShortTextFile.KindName] = typeof(ShortTextFile),
        [StreamingFile.KindName] = typeof(StreamingFile),
        [QuickstartFile.KindName] = typeof(QuickstartFile),
        [ReproductionFile.KindName] = typeof(ReproductionFile),
    };

    private protected EvaluationFile(string kind) => Kind = kind;

    /// <summary>
    /// The version of the layout. Version 1 is the layout of the first files, which had no version, with <c>version</c> and <c>kind</c>
    /// added.
    /// </summary>
    [JsonPropertyOrder(-5)]
    public int Version { get; init; } = CurrentVersion;

    /// <summary>The kind of the record, such as <c>perplexity</c>.</summary>
    [JsonPropertyOrder(-4)]
    public string Kind { get; }

    private protected virtual bool IsIndented => false;

    /// <summary>Writes or replaces the file.</summary>
    /// <param name="path">The file; missing folders are created.</param>
    /// <exception cref="ConfigurationException">The file cannot be written to.</exception>
    public void Write(string path) => AtomicFile.WriteText(path, ToText() + "\n");

    /// <summary>The JSON of the file.</summary>
    public string ToText() => JsonSerializer.Serialize(this, GetType(), IsIndented ? s_indented : s_compact);

    /// <summary>Reads a file of any kind, including files without a version.</summary>
    /// <param name="path">A JSON file.</param>
    /// <returns>Null if the JSON is something else.</returns>
    /// <exception cref="CheckpointException">The file is damaged, or of a newer version.</exception>
    public static EvaluationFile? Read(string path)
    {
        try
        {
            using var json = WholeJson.Parse(File.ReadAllText(path));
            if (FindType(json.RootElement) is not { } type)
                return null;
            if (FindVersion(json.RootElement) is > CurrentVersion and var version)
                throw new CheckpointException(
                    $"Cannot read {path} because it has version {version}, but this LongLora reads only up to version "
                        + $"{CurrentVersion}. Use a newer LongLora, or write the file again with this one."
                );
            return (EvaluationFile?)json.RootElement.Deserialize(type, s_compact);
        }
        catch (JsonException e)
        {
            var why = e.Path is null ? $"it is damaged or cut off from line {e.LineNumber + 1} on." : e.Message;
            throw new CheckpointException($"Cannot read {path}: {why} Write it again with the command that made it, or remove it.", e);
        }
    }

    private static Type? FindType(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            return null;
        if (FindVersion(root) is not null && FindText(root, "kind") is { } kind)
            return s_types.GetValueOrDefault(kind);
        // Files without a version.
        return FindText(root, "task") switch
        {
            null => root.TryGetProperty("made", out _) && root.TryGetProperty("measures", out _) ? typeof(ReproductionFile) : null,
            "perplexity" => typeof(PerplexityFile),
            "short" => typeof(ShortTextFile),
            "ruler" => typeof(RulerFile),
            _ => root.TryGetProperty("scoring", out _) ? typeof(RetrievalFile) : null,
        };
    }

    private static int? FindVersion(JsonElement root) =>
        root.TryGetProperty("version", out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var version)
            ? version
            : null;

    private static string? FindText(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
