using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>All questions at one length.</summary>
/// <param name="Length">Tokens that document, question and answer may take together.</param>
/// <param name="Trials">The questions.</param>
internal sealed record RetrievalAtLength(int Length, [property: JsonPropertyOrder(1)] IReadOnlyList<RetrievalTrial> Trials)
{
    /// <summary>Mean score: the share of right answers where an answer is right or wrong.</summary>
    public double Accuracy => Trials.Average(t => t.Score);
}
