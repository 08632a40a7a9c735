namespace LongLora.Evaluation;

// l tokens of a chunk, D model size

/// <summary>The loss along one part of a streamed text.</summary>
/// <param name="Start">Index of its first scored token in the text.</param>
/// <param name="Tokens">Scored tokens.</param>
/// <param name="Loss">Their mean loss in nats.</param>
internal sealed record StreamingStretch(long Start, long Tokens, double Loss)
{
    /// <summary>exp(loss).</summary>
    public double Perplexity => Math.Exp(Loss);
}
