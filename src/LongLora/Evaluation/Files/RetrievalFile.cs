using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>Results of one retrieval task at several lengths, with every answer.</summary>
internal sealed record RetrievalFile() : ModelEvaluationFile(KindName)
{
    internal const string KindName = "retrieval";

    /// <summary><see cref="RetrievalTask.Name"/>: <c>passkey</c>, <c>lines</c> or <c>topics</c>.</summary>
    [JsonPropertyOrder(-3)]
    public required string Task { get; init; }

    /// <summary>How answers were judged.</summary>
    public required RetrievalScoring Scoring { get; init; }

    /// <summary>One result per length, or a file of questions.</summary>
    public required IReadOnlyList<RetrievalAtLength> Results { get; init; }
}
