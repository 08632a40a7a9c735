using LongLora.Generation.Structured;
using LongLora.Tokenization;

namespace LongLora.Generation;

/// <summary>One text that is being generated: its tokens, what ends it, and which of its characters are certain.</summary>
internal sealed class AnswerText
{
    private readonly GenerationOptions _options;
    private readonly ITokenizer _tokenizer;
    private readonly TokenSampler _sampler;
    private readonly HashSet<int> _ends;
    private readonly int _promptTokens,
        _mostTokens;
    private readonly AnswerConstraint? _constraint;
    private readonly StreamingDecoder _decoder;
    private readonly StopText _text;
    private readonly List<TokenLogProbability>? _logProbabilities;
    private readonly List<TokenLogProbability>? _promptLogProbabilities;
    private int _given; // log-probabilities that a piece has had

    /// <param name="prompt">Token ids that it continues.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="sampler">Chooses its tokens.</param>
    /// <param name="ends">The model's own ends of texts.</param>
    /// <param name="context">Most tokens of prompt and answer together.</param>
    /// <param name="options">How it is generated.</param>
    internal AnswerText(
        IReadOnlyList<int> prompt,
        ITokenizer tokenizer,
        TokenSampler sampler,
        IEnumerable<int> ends,
        int context,
        GenerationOptions options
    )
    {
        (_options, _tokenizer, _sampler, _promptTokens) = (options, tokenizer, sampler, prompt.Count);
        _mostTokens = Math.Min(options.MaxTokens, context - prompt.Count);
        _ends = [.. options.StopTokens, .. options.IgnoreEos ? [] : ends];
        _constraint = options.Format is { } format ? new AnswerConstraint(format, TokenTrie.Of(tokenizer), _ends) : null;
        _decoder = new StreamingDecoder(tokenizer, options.Format?.HasControlTokens != true, [.. prompt.TakeLast(8)]);
        _text = new StopText(options.Stop);
        _logProbabilities = options.TopLogProbabilities is null ? null : [];
        _promptLogProbabilities = options.MeasuresPrompt ? [] : null;
        _sampler.Begin(prompt);
    }

    internal List<int> Tokens { get; } = [];

    /// <summary>Tokens of the prompt that the cache held already.</summary>
    internal int CachedTokens { get; set; }

    /// <summary>Tokens that were guessed, and how many of them were chosen.</summary>
    internal (int Made, int Accepted) Guesses { get; set; }

    /// <summary>Most tokens worth guessing now: one more than that is chosen in the same step.</summary>
    internal int MostGuesses => Math.Min(_options.LookupTokens, _mostTokens - Tokens.Count - 1);

    /// <summary>Why it ended; null while it goes on.</summary>
    internal FinishReason? Finish { get; private set; }

    /// <summary>Log-probabilities of the prompt's tokens from the second on; null if they were not requested.</summary>
    internal IReadOnlyList<TokenLogProbability>? PromptLogProbabilities => _promptLogProbabilities;

    /// <summary>Measures the next token of the prompt.</summary>
    /// <param name="logits">[V], after the token before it.</param>
    /// <param name="token">The token.</param>
    internal void MeasurePrompt(ReadOnlySpan<float> logits, int token) =>
        _promptLogProbabilities!.Add(new LogProbabilities(logits, _options.TopLogProbabilities ?? 0).Of(token));

    /// <summary>Chooses the next token and returns the text that is now certain.</summary>
    /// <param name="logits">[V]; changed.</param>
    internal string Add(Span<float> logits)
    {
        var measured = _options.TopLogProbabilities is { } count ? new LogProbabilities(logits, count) : null;
        var mayEnd = Tokens.Count >= _options.MinTokens;
        _constraint?.Apply(logits);
        var id = _sampler.Next(logits, mayEnd ? [] : _ends);
        if (measured is not null)
            _logProbabilities!.Add(measured.Of(id));
        Tokens.Add(id);
        // A format may have a token inside that ends other texts.
        if (_ends.Contains(id) && _constraint?.MayEnd != false)
            return End(FinishReason.Stop);
        _constraint?.Accept(id);
        var fresh = Append(id, mayEnd);
        if (_text.IsEnded)
        {
            Finish = FinishReason.Stop;
            return fresh;
        }
        if (_constraint?.IsComplete == true)
            return fresh + End(FinishReason.Stop);
        return Tokens.Count >= _mostTokens ? fresh + End(FinishReason.Length) : fresh;
    }

    // A stop text is looked for in special tokens too, although these are not part of the text.
    private string Append(int id, bool mayEnd)
    {
        var text = _decoder.Append(id);
        if (!mayEnd)
            return _text.Pass(text);
        var fresh = _text.Append(text);
        return _options.Stop.Count > 0 && !_text.IsEnded ? fresh + _text.Append(FindHidden(id), isHidden: true) : fresh;
    }

    // The text of a special token, which the decoder leaves out.
    private string FindHidden(int id) => TokenText.IsControl(_tokenizer, id) ? TokenText.Write(_tokenizer, id) : "";

    private string End(FinishReason reason)
    {
        Finish = reason;
        var rest = _text.Append(_decoder.Finish());
        if (_text.IsEnded)
            Finish = FinishReason.Stop;
        return rest + _text.Finish();
    }

    /// <summary>Log-probabilities that no piece has had yet; null if they were not requested.</summary>
    internal IReadOnlyList<TokenLogProbability>? TakeLogProbabilities()
    {
        if (_logProbabilities is null)
            return null;
        var fresh = _logProbabilities[_given..];
        _given = _logProbabilities.Count;
        return fresh;
    }

    /// <summary>The whole answer, once it has ended.</summary>
    internal GenerationResult ToResult() =>
        new(_text.Given, Tokens, _promptTokens, CachedTokens, Finish!.Value)
        {
            Seed = _sampler.Seed,
            GuessedTokens = Guesses.Made,
            AcceptedTokens = Guesses.Accepted,
            LogProbabilities = _logProbabilities,
            PromptLogProbabilities = _promptLogProbabilities,
        };
}
