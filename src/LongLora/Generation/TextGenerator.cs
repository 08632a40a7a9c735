using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Generation;

/// <summary>
/// Generates text with a model: the prompt is read in chunks, then one token at a time, with keys and values kept. A later prompt that
/// begins as the one before it goes on from there. One generation at a time; <see cref="ChatModel"/> has a queue.
/// </summary>
public sealed class TextGenerator : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly ITokenizer _tokenizer;
    private readonly IReadOnlyList<int> _ends;
    private readonly KeyValueType? _cacheType;
    private readonly StreamingOptions? _streaming;
    private KeyValueCache? _cache;
    private StreamingCache[] _streams = [];
    private RotaryEmbedding? _positions;
    private int _textLength;
    private readonly List<List<int>> _held = [];
    private readonly Dictionary<int, int> _prompts = []; // tokens of the last prompt of each row
    private readonly Lock _use = new();
    private bool _isBusy;
    private bool _isClosed;

    /// <summary>A generator.</summary>
    /// <param name="model">The model, with its adapter merged or attached.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="context">
    /// Most tokens of prompt and answer together; null for the model's context, or for no bound where the text is streamed.
    /// </param>
    /// <param name="cacheType">In what numbers keys and values are kept; null for the type that the model computes in.</param>
    /// <param name="streaming">
    /// Keeps the first tokens and the last ones alone: a text can go on without end in constant memory, and what lies between is
    /// forgotten. Null keeps all.
    /// </param>
    /// <param name="ends">Tokens that end texts; null for those of config and tokenizer. <see cref="LoadedModel.EndTokens"/> has
    /// all.</param>
    /// <exception cref="ConfigurationException">Sinks and window of streaming are not inside the model's context.</exception>
    public TextGenerator(
        CausalLanguageModel model,
        ITokenizer tokenizer,
        int? context = null,
        KeyValueType? cacheType = null,
        StreamingOptions? streaming = null,
        IReadOnlyList<int>? ends = null
    )
    {
        (_model, _tokenizer, _cacheType, _streaming) = (model, tokenizer, cacheType, streaming);
        Context = context ?? (streaming is null ? RopeScaling.GetCurrentContext(model.Config) : int.MaxValue);
        _ = streaming?.GetWindow(model.Config);
        _ends = ends ?? TextEnds.FindTokens(model.Config, tokenizer);
    }

    /// <summary>Most tokens of prompt and answer together.</summary>
    public int Context { get; }

    /// <summary>Lets one pass of all generators run at a time, and joins their steps; null where this one is alone.</summary>
    internal ComputeTurns? Turns { get; init; }

    /// <summary>
    /// Whether what the generator holds changes no bit of an answer: of a prompt that begins as the one before it only whole chunks are
    /// taken over, which are computed in the same way whoever reads them. Default false: all that is common is taken over.
    /// </summary>
    internal bool TakesWholeChunks { get; init; }

    /// <summary>Tokens of the text that is held.</summary>
    internal int Held => _held.Count > 0 ? _held[0].Count : 0;

    /// <summary>Tokens at the beginning of a prompt that the text that is held begins with.</summary>
    internal int Common(IReadOnlyList<int> prompt)
    {
        var common = 0;
        while (common < Held && common < prompt.Count && _held[0][common] == prompt[common])
            common++;
        return common;
    }

    /// <summary>
    /// Generates from a prompt of text, encoded with what the model's tokenizer puts in front (BOS) unless the text begins with it. Special
    /// tokens in the text, such as <c>&lt;|im_start|&gt;</c>, are tokens.
    /// </summary>
    /// <param name="prompt">The prompt.</param>
    /// <param name="options">How.</param>
    /// <param name="onText">Given each piece of the answer as soon as it is certain.</param>
    /// <param name="cancellation">Looked at before every chunk and token.</param>
    /// <exception cref="DataException">The prompt leaves no room in the context.</exception>
    /// <exception cref="InvalidOperationException">It is generating; there is one cache.</exception>
    public GenerationResult Generate(
        string prompt,
        GenerationOptions options,
        Action<string>? onText = null,
        CancellationToken cancellation = default
    ) => Generate([PromptText.Encode(_tokenizer, prompt)], options, onText is null ? null : (_, text) => onText(text), cancellation)[0];

    /// <summary>
    /// Generates from several prompts of token ids at once, which may have different lengths; each comes out as it would alone.
    /// </summary>
    /// <param name="prompts">B prompts, each of at least one token.</param>
    /// <param name="options">How.</param>
    /// <param name="onText">Given the number of the prompt and each piece of its answer.</param>
    /// <param name="cancellation">Looked at before every chunk and step.</param>
    public IReadOnlyList<GenerationResult> Generate(
        IReadOnlyList<IReadOnlyList<int>> prompts,
        GenerationOptions options,
        Action<int, string>? onText = null,
        CancellationToken cancellation = default
    ) => GeneratePieces(prompts, options, onText is null ? null : (number, piece) => onText(number, piece.Text), cancellation);

    /// <summary>The same, with the log-probabilities of each piece.</summary>
    internal IReadOnlyList<GenerationResult> GeneratePieces(
        IReadOnlyList<IReadOnlyList<int>> prompts,
        GenerationOptions options,
        Action<int, AnswerPiece>? onPiece,
        CancellationToken cancellation
    )
    {
        options.Validate();
        Enter();
        try
        {
            return GenerateRows(prompts, options, onPiece, cancellation);
        }
        finally
        {
            Leave();
        }
    }

    private void Enter()
    {
        lock (_use)
        {
            ObjectDisposedException.ThrowIf(_isClosed, this);
            if (_isBusy)
                throw new InvalidOperationException(
                    $"Cannot generate because this {nameof(TextGenerator)} is generating, and it has one cache. Wait for it, or use "
                        + $"{nameof(ChatModel)}, which has a queue."
                );
            _isBusy = true;
        }
    }

    private void Leave()
    {
        lock (_use)
        {
            _isBusy = false;
            if (_isClosed)
                Free();
        }
    }

    private GenerationResult[] GenerateRows(
        IReadOnlyList<IReadOnlyList<int>> prompts,
        GenerationOptions options,
        Action<int, AnswerPiece>? onPiece,
        CancellationToken cancellation
    )
    {
        // The texts of a batch have one seed.
        options = options with { Seed = options.Seed ?? TokenSampler.DrawSeed() };
        foreach (var id in options.LogitBias.Keys.Where(id => id < 0 || id >= _model.Config.VocabularySize))
            throw new ConfigurationException(
                $"Cannot bias token {id} because the model has {_model.Config.VocabularySize:N0}. Use ids below that."
            );
        foreach (var prompt in prompts)
            CheckPrompt(prompt, options);
        var results = new GenerationResult[prompts.Count];
        foreach (var alike in Enumerable.Range(0, prompts.Count).GroupBy(number => TextLength(prompts[number], options)))
        {
            int[] numbers = [.. alike];
            var made = Generate([.. numbers.Select(number => prompts[number])], numbers, alike.Key, options, onPiece, cancellation);
            for (var i = 0; i < numbers.Length; i++)
                results[numbers[i]] = made[i];
        }
        return results;
    }

    /// <summary>Refuses to guess tokens where a wrong guess could not be taken back.</summary>
    /// <param name="tokens"><see cref="GenerationOptions.LookupTokens"/>.</param>
    /// <exception cref="ConfigurationException">The model has recurrent layers, or the text is streamed.</exception>
    internal void CheckGuesses(int tokens)
    {
        if (tokens > 0 && (_streaming is not null || _model.Config.LinearAttention is not null))
            throw new ConfigurationException(
                $"Cannot guess tokens (lookup-tokens is {tokens}) because "
                    + (_streaming is null ? "a recurrent layer of this model" : "a streamed text")
                    + " cannot go back when a guess is wrong. Set lookup-tokens to 0."
            );
    }

    private GenerationResult[] Generate(
        IReadOnlyList<IReadOnlyList<int>> prompts,
        int[] numbers,
        int textLength,
        GenerationOptions options,
        Action<int, AnswerPiece>? onPiece,
        CancellationToken cancellation
    )
    {
        CheckGuesses(options.LookupTokens);
        Prepare(prompts, textLength, options);
        var texts = prompts
            .Select((prompt, row) => new AnswerText(prompt, _tokenizer, new TokenSampler(options, numbers[row]), _ends, Context, options))
            .ToList();
        for (var row = 0; row < prompts.Count; row++)
        {
            var cached = Reuse(row, prompts[row], options);
            texts[row].CachedTokens = cached;
            var logits = Prefill(row, prompts[row], cached, texts[row], options, cancellation);
            if (texts[row].PromptLogProbabilities is { } measured)
                onPiece?.Invoke(numbers[row], new AnswerPiece("", default, null) { PromptLogProbabilities = measured });
            Take(texts[row], numbers[row], logits, onPiece);
        }
        Decode(texts, numbers, onPiece, cancellation);
        return [.. texts.Select(t => t.ToResult())];
    }

    private void Decode(List<AnswerText> texts, int[] numbers, Action<int, AnswerPiece>? onPiece, CancellationToken cancellation)
    {
        var joined = Turns is { Parallel: > 1 } turns && texts.Count == 1 && _streaming is null ? turns.StepsOf(_model) : null;
        joined?.Join();
        try
        {
            for (var active = Active(); active.Count > 0; active = Active())
            {
                cancellation.ThrowIfCancellationRequested();
                active.RemoveAll(row => TryStepByGuess(row, texts[row], numbers[row], joined, onPiece));
                if (active.Count == 0)
                    continue;
                var logits = joined is null ? Pass(() => Step(texts, active)) : Step(texts[0], joined);
                for (var i = 0; i < active.Count; i++)
                    Take(texts[active[i]], numbers[active[i]], At(logits, i), onPiece);
            }
        }
        finally
        {
            joined?.Leave();
        }

        List<int> Active() => [.. Enumerable.Range(0, texts.Count).Where(row => texts[row].Finish is null)];
    }

    private T Pass<T>(Func<T> pass) => Turns is null ? pass() : Turns.Pass(pass);

    // A prompt that is measured may fill the context: what is drawn after it is not read.
    private void CheckPrompt(IReadOnlyList<int> prompt, GenerationOptions options)
    {
        if (prompt.Count == 0)
            throw new DataException("The prompt is empty and the tokenizer has no token that begins a text; give at least one character.");
        if (prompt.Count >= Context + (options is { MeasuresPrompt: true, MaxTokens: 1 } ? 1 : 0))
            throw new DataException(
                $"The prompt has {prompt.Count:N0} tokens; the context of {Context:N0} tokens leaves no room for an answer. Shorten it, "
                    + $"or extend the model (longlora train)."
            );
    }

    // Where angles depend on the length, those of the whole context hold from the first token on, unless prompt and answer fit into the
    // original context. The last token of an answer is not read.
    private int TextLength(IReadOnlyList<int> prompt, GenerationOptions options) =>
        _streaming is null && RopeScaling.DependsOnLength(_model.Config)
            ? RopeScaling.GetTextLength(_model.Config, Math.Max(prompt.Count, Needed(prompt, options) - 1), Context)
            : Context;

    private int Needed(IReadOnlyList<int> prompt, GenerationOptions options) =>
        (int)Math.Min(Context, prompt.Count + (long)options.MaxTokens);

    // A cache is kept for the next generation while it is large enough.
    private void Prepare(IReadOnlyList<IReadOnlyList<int>> prompts, int textLength, GenerationOptions options)
    {
        if (_streaming is not null)
        {
            if (_streams.Length != prompts.Count)
            {
                DisposeStreams();
                _streams = [.. prompts.Select(_ => new StreamingCache(_model, _streaming, _cacheType))];
                _held.Clear();
                _held.AddRange(prompts.Select(_ => new List<int>()));
            }
            return;
        }
        var needed = prompts.Max(prompt => Needed(prompt, options));
        if (_positions is null || _textLength != textLength)
        {
            _positions?.Dispose();
            (_positions, _textLength) = (RotaryEmbedding.Create(_model.Config, Context, _model.Device, textLength), textLength);
            _held.ForEach(tokens => tokens.Clear());
        }
        if (_cache is null || _cache.Rows != prompts.Count)
        {
            _cache?.Dispose();
            _cache = new KeyValueCache(_model, needed, prompts.Count, _cacheType);
            _held.Clear();
            _held.AddRange(prompts.Select(_ => new List<int>()));
        }
        else if (_cache.Capacity < needed)
        {
            // A conversation that goes on is copied now and then, not at each answer, and not read again.
            var grown = _cache.Grow((int)Math.Min(Context, Math.Max(needed, _cache.Capacity * 3L / 2)));
            _cache.Dispose();
            _cache = grown;
        }
    }

    // The last token is always read, for its logits.
    private int Reuse(int row, IReadOnlyList<int> prompt, GenerationOptions options)
    {
        var (common, most) = (0, options.MeasuresPrompt ? 0 : prompt.Count - 1);
        while (common < most && common < _held[row].Count && _held[row][common] == prompt[common])
            common++;
        // The answer to the last prompt was read token by token.
        if (TakesWholeChunks)
            common = Math.Min(common, _prompts.GetValueOrDefault(row)) / options.PrefillChunk * options.PrefillChunk;
        _prompts[row] = prompt.Count;
        if (_streaming is null)
            common = _cache!.Truncate(row, common);
        else if (!_streams[row].TryTruncate(common))
        {
            _streams[row].Clear();
            common = 0;
        }
        _held[row].RemoveRange(common, _held[row].Count - common);
        return common;
    }

    private float[] Prefill(
        int row,
        IReadOnlyList<int> prompt,
        int cached,
        AnswerText text,
        GenerationOptions options,
        CancellationToken cancellation
    )
    {
        using var noGradient = no_grad();
        float[] logits = [];
        for (var start = cached; start < prompt.Count; start += options.PrefillChunk)
        {
            cancellation.ThrowIfCancellationRequested();
            options.PromptProgress?.Report(new(start, prompt.Count));
            logits = Pass(() => ReadChunk(row, prompt, start, text, options, cancellation));
            HostMemory.TrimIfGrown();
        }
        return logits;
    }

    // Logits after the chunk if it is the last one.
    private float[] ReadChunk(
        int row,
        IReadOnlyList<int> prompt,
        int start,
        AnswerText text,
        GenerationOptions options,
        CancellationToken cancellation
    )
    {
        using var scope = NewDisposeScope();
        long[] ids = [.. prompt.Skip(start).Take(options.PrefillChunk).Select(id => (long)id)];
        var hidden = _streaming is null
            ? CachedPass.Read(_model, ids, _cache!, row, _positions!, last: options.MeasuresPrompt ? null : 1)
            : CachedPass.Read(_model, ids, _streams[row], cancellation);
        _held[row].AddRange(ids.Select(id => (int)id));
        if (options.MeasuresPrompt)
            Measure(text, hidden, prompt, start);
        return start + ids.Length == prompt.Count ? Logits(hidden.narrow(0, hidden.size(0) - 1, 1)) : [];
    }

    // A few places at once, because logits of a whole chunk may be larger than the model.
    private void Measure(AnswerText text, Tensor hidden, IReadOnlyList<int> prompt, int start)
    {
        const int places = 16;
        var size = _model.Config.VocabularySize;
        var count = (int)Math.Min(hidden.shape[0], prompt.Count - 1 - start);
        for (var first = 0; first < count; first += places)
        {
            using var scope = NewDisposeScope();
            var taken = Math.Min(places, count - first);
            var logits = Logits(hidden.narrow(0, first, taken));
            for (var i = 0; i < taken; i++)
                text.MeasurePrompt(logits.AsSpan(i * size, size), prompt[start + first + i + 1]);
        }
    }

    // Every token is chosen from the model's logits after the tokens before it, so a guess changes only what is computed together. The
    // first token that is another one than was guessed ends the step, and what was read after it is forgotten.
    private bool TryStepByGuess(int row, AnswerText text, int number, JoinedSteps? joined, Action<int, AnswerPiece>? onPiece)
    {
        if (text.MostGuesses <= 0)
            return false;
        int[] known = [.. _held[row], text.Tokens[^1]];
        var guess = PromptLookup.Guess(known, text.MostGuesses);
        if (guess.IsEmpty)
            return false;
        int[] ids = [text.Tokens[^1], .. guess];
        joined?.Leave(); // the others need not wait for a pass of this answer's own
        float[] logits;
        try
        {
            logits = Pass(() => Check(row, ids));
        }
        finally
        {
            joined?.Join();
        }
        var right = 0;
        do Take(text, number, At(logits, right++), onPiece);
        while (text.Finish is null && right < ids.Length && text.Tokens[^1] == ids[right]);
        _cache!.Truncate(row, _held[row].Count + right);
        _held[row].AddRange(ids.Take(right));
        var accepted = right < ids.Length && text.Tokens[^1] == ids[right] ? right : right - 1; // the answer may end with a right guess
        text.Guesses = (text.Guesses.Made + guess.Length, text.Guesses.Accepted + accepted);
        return true;
    }

    private float[] Check(int row, int[] ids)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return Logits(CachedPass.Read(_model, [.. ids.Select(id => (long)id)], _cache!, row, _positions!));
    }

    private Span<float> At(float[] logits, int place) => logits.AsSpan(place * _model.Config.VocabularySize, _model.Config.VocabularySize);

    private float[] Step(List<AnswerText> texts, List<int> rows)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        long[] ids = [.. rows.Select(row => (long)texts[row].Tokens[^1])];
        var hidden = _streaming is null
            ? CachedPass.Step(_model, ids, _cache!, rows, _positions!)
            : cat([.. rows.Select((row, i) => CachedPass.Read(_model, ids.AsSpan(i, 1), _streams[row]))], 0);
        foreach (var row in rows)
            _held[row].Add(texts[row].Tokens[^1]);
        return Logits(hidden);
    }

    private float[] Step(AnswerText text, JoinedSteps joined)
    {
        var logits = joined.Step(text.Tokens[^1], _cache!, _positions!, _textLength);
        _held[0].Add(text.Tokens[^1]);
        return logits;
    }

    // [rows, D] -> rows V numbers
    private float[] Logits(Tensor hidden) => _model.ApplyHead(hidden).to(ScalarType.Float32).cpu().data<float>().ToArray();

    private static void Take(AnswerText text, int row, Span<float> logits, Action<int, AnswerPiece>? onPiece)
    {
        var fresh = text.Add(logits);
        if (fresh.Length > 0 && onPiece is not null)
            onPiece(row, new AnswerPiece(fresh, default, null) { LogProbabilities = text.TakeLogProbabilities() });
    }

    /// <summary>Frees the cache; where a generation runs, at its end.</summary>
    public void Dispose()
    {
        lock (_use)
        {
            if (_isClosed)
                return;
            _isClosed = true;
            if (!_isBusy)
                Free();
        }
    }

    private void Free()
    {
        _cache?.Dispose();
        _positions?.Dispose();
        DisposeStreams();
    }

    private void DisposeStreams()
    {
        foreach (var stream in _streams)
            stream.Dispose();
    }
}
