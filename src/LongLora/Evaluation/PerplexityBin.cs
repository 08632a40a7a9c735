using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>The loss on tokens that have about as much context.</summary>
/// <param name="From">Least number of tokens before them in their window.</param>
/// <param name="To">Greatest number.</param>
/// <param name="Loss">Mean loss in nats.</param>
/// <param name="Tokens">Scored tokens.</param>
public sealed record PerplexityBin(int From, int To, double Loss, long Tokens)
{
    /// <summary>exp(loss).</summary>
    [JsonIgnore]
    public double Perplexity => Math.Exp(Loss);
}
