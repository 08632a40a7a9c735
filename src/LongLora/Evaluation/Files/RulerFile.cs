using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>Results of RULER's tasks, with every answer.</summary>
internal sealed record RulerFile() : ModelEvaluationFile(KindName)
{
    internal const string KindName = "ruler";

    /// <summary>Always <c>ruler</c>.</summary>
    [JsonPropertyOrder(-3)]
    public string Task { get; } = KindName;

    /// <summary>The tasks in RULER's order.</summary>
    public required IReadOnlyList<RulerTaskResult> Tasks { get; init; }
}
