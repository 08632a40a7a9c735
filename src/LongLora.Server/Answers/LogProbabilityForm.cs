using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Log-probabilities in OpenAI's two forms.</summary>
internal static class LogProbabilityForm
{
    /// <summary>The form of chat; null for none.</summary>
    internal static object? ToChat(IReadOnlyList<TokenLogProbability>? tokens, ITokenizer tokenizer) =>
        tokens is null ? null : new { content = tokens.Select(t => Describe(t, tokenizer)) };

    /// <summary>The form of completions; null for none.</summary>
    /// <param name="prompt">The first token of the prompt, of which nothing is known, and the others; null if the prompt is not
    /// told.</param>
    /// <param name="answer">The tokens of the answer; null for none.</param>
    /// <param name="tokenizer">Gives their texts.</param>
    /// <param name="offsets">Tells where each begins.</param>
    internal static object? ToCompletion(
        (int First, IReadOnlyList<TokenLogProbability> Others)? prompt,
        IReadOnlyList<TokenLogProbability>? answer,
        ITokenizer tokenizer,
        TokenOffsets offsets
    )
    {
        if (prompt is null && answer is null)
            return null;
        var tokens = new List<(int Token, TokenLogProbability? Known)>();
        if (prompt is { } read)
            tokens.AddRange([(read.First, null), .. read.Others.Select(t => (t.Token, (TokenLogProbability?)t))]);
        tokens.AddRange((answer ?? []).Select(t => (t.Token, (TokenLogProbability?)t)));
        return new
        {
            tokens = tokens.Select(t => TokenText.Write(tokenizer, t.Token)),
            token_logprobs = tokens.Select(t => t.Known?.LogProbability),
            top_logprobs = tokens.Select(t =>
                t.Known?.Likeliest.GroupBy(l => TokenText.Write(tokenizer, l.Token)).ToDictionary(l => l.Key, l => l.First().LogProbability)
            ),
            text_offset = tokens.Select(t => offsets.Take(t.Token)).ToList(),
        };
    }

    private static object Describe(TokenLogProbability token, ITokenizer tokenizer) =>
        new
        {
            token = TokenText.Write(tokenizer, token.Token),
            logprob = token.LogProbability,
            bytes = ListBytes(token.Token, tokenizer),
            top_logprobs = token.Likeliest.Select(l => new
            {
                token = TokenText.Write(tokenizer, l.Token),
                logprob = l.LogProbability,
                bytes = ListBytes(l.Token, tokenizer),
            }),
        };

    // Not an array of bytes, which JSON writes in Base64.
    private static IEnumerable<int> ListBytes(int token, ITokenizer tokenizer) => TokenText.GetBytes(tokenizer, token).Select(b => (int)b);
}
