using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>One question.</summary>
/// <param name="Seed">Seed of its document.</param>
/// <param name="Depth">Where the answer was, 0 to 1.</param>
/// <param name="PromptTokens">Tokens of document and question.</param>
/// <param name="IsRight">Whether it was answered correctly and completely.</param>
/// <param name="Answered">What the model wrote, or its most likely candidate.</param>
internal sealed record RetrievalTrial(
    int Seed,
    double Depth,
    [property: JsonPropertyName("tokens")] int PromptTokens,
    [property: JsonPropertyName("right")] bool IsRight,
    string Answered
)
{
    /// <summary>How much of the answer was given, 0 to 1. Default: all or nothing.</summary>
    public double Score { get; init; } = IsRight ? 1 : 0;
}
