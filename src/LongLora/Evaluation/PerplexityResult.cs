using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>Perplexity at one context length.</summary>
/// <param name="Context">Tokens in a window.</param>
/// <param name="Loss">Mean loss in nats over the scored tokens.</param>
/// <param name="Tokens">Scored tokens.</param>
public sealed record PerplexityResult(int Context, double Loss, long Tokens)
{
    /// <summary>exp(loss).</summary>
    public double Perplexity => Math.Exp(Loss);

    /// <summary>
    /// The loss by position in the window, in bins that double: 1 token of context, 2 to 3, 4 to 7, ... If it falls up to the end, distant
    /// context is used.
    /// </summary>
    [JsonPropertyName("positions")]
    public IReadOnlyList<PerplexityBin> ByPosition { get; init; } = [];
}
