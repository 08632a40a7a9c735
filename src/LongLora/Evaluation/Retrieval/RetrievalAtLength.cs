using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>All questions at one length.</summary>
/// <param name="Length">Maximum tokens of document, question and answer together.</param>
/// <param name="Trials">The questions.</param>
internal sealed record RetrievalAtLength(int Length, [property: JsonPropertyOrder(1)] IReadOnlyList<RetrievalTrial> Trials)
{
    /// <summary>Mean score; the share of correct answers if answers are only right or wrong.</summary>
    public double Accuracy => Trials.Average(t => t.Score);
}
