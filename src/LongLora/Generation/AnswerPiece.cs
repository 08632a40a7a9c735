namespace LongLora.Generation;

/// <summary>A part of an answer that is being generated.</summary>
/// <param name="Text">Text that later tokens cannot change; empty in the last piece.</param>
/// <param name="Time">Time since the generation started. Waiting in the queue is not included.</param>
/// <param name="Result">The whole answer in the last piece; null in all others.</param>
public readonly record struct AnswerPiece(string Text, TimeSpan Time, GenerationResult? Result)
{
    /// <summary>
    /// Log-probabilities of the tokens that made this text certain; null if they were not requested. Those of all pieces together are
    /// <see cref="GenerationResult.LogProbabilities"/>.
    /// </summary>
    public IReadOnlyList<TokenLogProbability>? LogProbabilities { get; init; }

    /// <summary>
    /// Log-probabilities of the prompt's tokens from the second on, in a piece of their own before all others; else null.
    /// </summary>
    internal IReadOnlyList<TokenLogProbability>? PromptLogProbabilities { get; init; }
}
