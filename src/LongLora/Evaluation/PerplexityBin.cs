using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>The loss on tokens with a similar amount of context.</summary>
/// <param name="From">Smallest number of preceding tokens in the window.</param>
/// <param name="To">Largest number.</param>
/// <param name="Loss">Mean loss in nats.</param>
/// <param name="Tokens">Scored tokens.</param>
public sealed record PerplexityBin(int From, int To, double Loss, long Tokens)
{
    /// <summary>exp(loss).</summary>
    [JsonIgnore]
    public double Perplexity => Math.Exp(Loss);
}
