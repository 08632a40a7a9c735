namespace LongLora.Generation;

/// <summary>
/// Guesses how a text goes on from what followed the same words earlier in it. Answers about a document repeat names, figures and sentences
/// of it. A guess costs nothing to make, and the model checks all of its tokens in one pass (prompt lookup decoding; speculative decoding,
/// arXiv 2211.17192, with a guess in the place of a second model).
/// </summary>
internal static class PromptLookup
{
    // A single token is followed by too many others.
    private const int Longest = 4,
        Shortest = 2;

    /// <summary>What followed the last occurrence of the text's end, of the longest end that occurs; empty if none does.</summary>
    /// <param name="text">Token ids of prompt and answer.</param>
    /// <param name="most">Most tokens to guess.</param>
    internal static ReadOnlySpan<int> Guess(ReadOnlySpan<int> text, int most)
    {
        for (var length = Longest; length >= Shortest && most > 0; length--)
        {
            if (text.Length <= length)
                continue;
            var at = text[..^1].LastIndexOf(text[^length..]);
            if (at >= 0)
                return text[(at + length)..Math.Min(at + length + most, text.Length)];
        }
        return [];
    }
}
