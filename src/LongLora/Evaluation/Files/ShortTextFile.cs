using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>What a model lost on short text when it was extended.</summary>
internal sealed record ShortTextFile() : EvaluationFile(KindName)
{
    internal const string KindName = "short";

    /// <summary>Always <c>short</c>.</summary>
    [JsonPropertyOrder(-3)]
    public string Task { get; } = KindName;

    /// <summary>Folder of the model before; null if the file does not say.</summary>
    public string? Model { get; init; }

    /// <summary>Folder of the adapter or of the whole model after; null if the file does not say.</summary>
    public string? Extended { get; init; }

    /// <summary>The context before, in tokens.</summary>
    public required int Native { get; init; }

    /// <summary>The measures.</summary>
    public required IReadOnlyList<ShortTextChange> Results { get; init; }
}
