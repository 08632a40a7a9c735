using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>Perplexity by context, and by position in the window.</summary>
internal sealed record PerplexityFile() : ModelEvaluationFile(KindName)
{
    internal const string KindName = "perplexity";

    /// <summary>Always <c>perplexity</c>.</summary>
    [JsonPropertyOrder(-3)]
    public string Task { get; } = KindName;

    /// <summary>One result per context.</summary>
    public required IReadOnlyList<PerplexityResult> Results { get; init; }
}
