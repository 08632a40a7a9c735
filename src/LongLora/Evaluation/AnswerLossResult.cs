namespace LongLora.Evaluation;

/// <summary>Loss on answers.</summary>
/// <param name="Loss">Mean loss in nats over the tokens of all answers together.</param>
/// <param name="Tokens">Scored tokens.</param>
/// <param name="Examples">Examples with at least one scored token.</param>
/// <param name="Exact">
/// Examples in which every scored token is the most likely one, so greedy decoding would write the answers word for word.
/// </param>
public sealed record AnswerLossResult(double Loss, long Tokens, int Examples, int Exact)
{
    /// <summary>exp(loss).</summary>
    public double Perplexity => Math.Exp(Loss);
}
