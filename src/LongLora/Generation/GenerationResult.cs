namespace LongLora.Generation;

/// <summary>What was generated.</summary>
/// <param name="Text">The answer, without the token or text that ended it.</param>
/// <param name="Tokens">Its token ids, the last one included.</param>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="CachedTokens">Tokens of the prompt that the cache held already.</param>
/// <param name="Finish">Why it ended.</param>
public sealed record GenerationResult(string Text, IReadOnlyList<int> Tokens, int PromptTokens, int CachedTokens, FinishReason Finish)
{
    /// <summary>Tokens that were guessed by <see cref="GenerationOptions.LookupTokens"/> and checked.</summary>
    public int GuessedTokens { get; init; }

    /// <summary>How many of <see cref="GuessedTokens"/> are in the answer.</summary>
    public int AcceptedTokens { get; init; }

    /// <summary>The seed of the sampling, given or fresh. Greedy generation does not use it.</summary>
    public long Seed { get; init; }

    /// <summary>
    /// Log-probabilities of the prompt's tokens from the second on, one each, as nothing stands before the first; null if they were not
    /// requested.
    /// </summary>
    internal IReadOnlyList<TokenLogProbability>? PromptLogProbabilities { get; init; }

    /// <summary>Log-probabilities of <see cref="Tokens"/>, one each; null if they were not requested.</summary>
    public IReadOnlyList<TokenLogProbability>? LogProbabilities { get; init; }
}
