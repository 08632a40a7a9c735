using LongLora.Adapters;
using LongLora.Generation.Structured;
using LongLora.Loading;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Generation;

/// <summary>
/// A model that is ready to answer. Chat, serve and <c>IChatClient</c> use it. An answer comes as a stream of pieces, the last of which has
/// the result. Leaving the stream ends the generation. What a conversation shares with the one before it is not read again. Several
/// threads may ask at once; <see cref="ChatModelOptions.ParallelAnswers"/> of them are answered together, in the order of the requests.
/// </summary>
public sealed class ChatModel : IDisposable
{
    private readonly LoadedModel _model;
    private readonly Func<TextGenerator> _newGenerator;
    private readonly List<TextGenerator> _generators = []; // those that nobody uses; used last comes last
    private readonly int _kept,
        _most;
    private int _made;
    private readonly AnswerQueue _queue;
    private StructuredChat? _chat;

    private ChatModel(ChatModelOptions options, LoadedModel model, ITokenizer tokenizer, ComputeTurns turns)
    {
        (_model, Tokenizer, _queue) = (model, tokenizer, new AnswerQueue(turns));
        (_kept, _most) = (options.KeptConversations, Math.Max(options.KeptConversations, turns.Parallel));
        Name = options.Name ?? model.Source.Name;
        _newGenerator = () =>
            new TextGenerator(model.Network, tokenizer, options.Context, options.CacheType, options.Streaming, model.EndTokens)
            {
                Turns = turns,
            };
        _generators.Add(_newGenerator());
        _made = 1;
        Context = _generators[0].Context;
        TrainedContext = RopeScaling.GetCurrentContext(model.Config);
    }

    /// <summary>Opens a model.</summary>
    /// <param name="options">What it is made of.</param>
    /// <exception cref="CheckpointException">Model, adapter, tokenizer or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static ChatModel Open(ChatModelOptions options)
    {
        if (options.ParallelAnswers is < 1 or > 64)
            throw new ConfigurationException($"parallel answers is {options.ParallelAnswers}; it must be from 1 to 64.");
        return Open(options, new ComputeTurns(options.ParallelAnswers));
    }

    /// <summary>
    /// Opens another model whose requests wait in the same queue, such as another adapter on the same base. The weights of a base that is
    /// neither quantized nor on a GPU are mapped from the file, so they take memory only once.
    /// </summary>
    /// <param name="options">What it is made of; <see cref="ChatModelOptions.ParallelAnswers"/> is that of this model.</param>
    /// <exception cref="CheckpointException">Model, adapter, tokenizer or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public ChatModel OpenBeside(ChatModelOptions options) => Open(options, _queue.Turns);

    private static ChatModel Open(ChatModelOptions options, ComputeTurns turns)
    {
        if (options.KeptConversations < 1)
            throw new ConfigurationException($"kept conversations is {options.KeptConversations}; it must be at least 1.");
        if (options.Context < 2)
            throw new ConfigurationException(
                $"context is {options.Context}; it must be at least 2: one token of the prompt and one of the answer."
            );
        var source = ModelSource.Open(options.Model);
        var tokenizer = source.RequireTokenizer();
        var model = LoadedModel.Open(
            source,
            new LoadOptions
            {
                Adapter = options.Adapter,
                AdapterReading = options.AdapterReading,
                Template = options.Template,
                Quantization = options.Quantization,
                Device = options.Device,
            }
        );
        try
        {
            return new ChatModel(options, model, tokenizer, turns);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Name by which clients ask for it; that of the model's folder or file unless the options say otherwise.</summary>
    public string Name { get; }

    /// <summary>The model's folder as it was given.</summary>
    public string Directory => _model.Source.Location;

    /// <summary>Its adapter; null for none.</summary>
    internal AdapterSet? Adapter => _model.Adapter;

    /// <summary>Answers that are generated together, of all models that share its queue.</summary>
    internal int ParallelAnswers => _queue.Turns.Parallel;

    /// <inheritdoc cref="TextGenerator.CheckGuesses"/>
    internal void CheckGuesses(int tokens)
    {
        lock (_generators)
            _generators[0].CheckGuesses(tokens);
    }

    /// <summary>Most answers whose next tokens have shared a pass.</summary>
    internal int MostTogether => _queue.Turns.StepsOf(_model.Network).MostTogether;

    /// <summary>Most tokens of conversation and answer together.</summary>
    public int Context { get; }

    /// <summary>Whether a text has no end because its cache is streamed.</summary>
    internal bool IsEndless => Context == int.MaxValue;

    /// <summary>Tokens that the model was made for, by its config.</summary>
    public int TrainedContext { get; }

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Whether there is a chat template; without one only <c>Complete</c> works.</summary>
    public bool HasTemplate => _model.Template is not null;

    /// <summary>A conversation as the model reads it, up to where its answer begins.</summary>
    /// <param name="messages">The conversation; the last message asks.</param>
    /// <exception cref="ConfigurationException">There is no chat template.</exception>
    /// <exception cref="DataException">The conversation is empty, or the template refuses it.</exception>
    public IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages) => Encode(messages, ConversationForm.Standard);

    /// <summary>A conversation as the model reads it.</summary>
    /// <param name="messages">The conversation.</param>
    /// <param name="form">How it is written.</param>
    /// <param name="tools">What the model may call; null for nothing.</param>
    /// <exception cref="ConfigurationException">There is no chat template, or it cannot write the tools.</exception>
    /// <exception cref="DataException">The conversation is empty, or the template refuses it.</exception>
    internal IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages, ConversationForm form, ToolUse? tools = null)
    {
        if (messages.Count == 0)
            throw new DataException("The conversation is empty; give at least one message.");
        return Structured.Prepare(messages, form, tools, null).Tokens;
    }

    /// <summary>
    /// Most tokens of a prompt that are counted, so that the message to a client whose prompt is a little too long says by how much.
    /// </summary>
    internal int MostRead => (int)Math.Min(4L * Context, int.MaxValue);

    /// <inheritdoc cref="PromptText.Encode"/>
    internal IReadOnlyList<int> EncodePrompt(string text, string material = "", bool addSpecial = true) =>
        PromptText.Encode(Tokenizer, text, material, addSpecial, MostRead);

    /// <summary>
    /// A text that somebody else wrote, with what the model's tokenizer puts around it; special tokens in it are ordinary text.
    /// </summary>
    /// <exception cref="TextTooLongException">It has more than <see cref="MostRead"/> tokens.</exception>
    internal IReadOnlyList<int> EncodeText(string text) =>
        Tokenizer is TextTokenizer tokenizer
            ? tokenizer.EncodeUpTo(text, MostRead, addSpecial: true)
            : Tokenizer.Encode(text, addSpecial: true);

    /// <summary>What prepares conversations whose answers call tools or follow a schema.</summary>
    /// <exception cref="ConfigurationException">There is no chat template.</exception>
    internal StructuredChat Structured
    {
        get
        {
            var template = RequireTemplate();
            return LazyInitializer.EnsureInitialized(ref _chat, () => new StructuredChat(template, Tokenizer));
        }
    }

    /// <summary>The chat template.</summary>
    /// <exception cref="ConfigurationException">There is none.</exception>
    internal ChatTemplate RequireTemplate() =>
        _model.Template
        ?? throw new ConfigurationException(
            $"The model '{Name}' has no chat template, neither in tokenizer_config.json nor as chat_template.jinja. "
                + $"Choose one with --template: {string.Join(", ", ChatTemplate.Names)}, or a file."
        );

    /// <summary>Answers a conversation.</summary>
    /// <param name="messages">The conversation; the last message asks.</param>
    /// <param name="options">How. What the template writes behind an answer ends it as well.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <returns>The pieces; they and all errors come when the stream is read.</returns>
    /// <exception cref="ConfigurationException">There is no chat template, or an option is wrong.</exception>
    /// <exception cref="DataException">The template refuses the conversation, or it leaves no room in the context.</exception>
    public IAsyncEnumerable<AnswerPiece> AnswerAsync(
        IReadOnlyList<ChatMessage> messages,
        GenerationOptions options,
        CancellationToken cancellation = default
    ) => Run(() => Encode(messages), WithEndOfAnswer(options), cancellation);

    /// <summary>Answers a conversation that <see cref="Encode(IReadOnlyList{ChatMessage})"/> gave.</summary>
    /// <param name="conversation">Its tokens.</param>
    /// <param name="options">How. What the template writes behind an answer ends it as well.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <returns>The pieces; they and all errors come when the stream is read.</returns>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The conversation leaves no room in the context.</exception>
    public IAsyncEnumerable<AnswerPiece> AnswerTokensAsync(
        IReadOnlyList<int> conversation,
        GenerationOptions options,
        CancellationToken cancellation = default
    ) => Run(() => conversation, WithEndOfAnswer(options), cancellation);

    /// <summary>
    /// Goes on from a text, encoded with what the model's tokenizer puts in front (BOS) unless the text begins with it. Special tokens in
    /// the text, such as <c>&lt;|im_start|&gt;</c>, are tokens; use <see cref="AnswerAsync"/> for what others wrote.
    /// </summary>
    /// <param name="prompt">The text.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <returns>The pieces; they and all errors come when the stream is read.</returns>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The prompt is empty, or leaves no room in the context.</exception>
    public IAsyncEnumerable<AnswerPiece> CompleteAsync(
        string prompt,
        GenerationOptions options,
        CancellationToken cancellation = default
    ) => Run(() => PromptText.Encode(Tokenizer, prompt), options, cancellation);

    /// <summary>Goes on from token ids.</summary>
    /// <param name="prompt">The ids, with what begins a text.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <returns>The pieces; they and all errors come when the stream is read.</returns>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The prompt is empty, or leaves no room in the context.</exception>
    public IAsyncEnumerable<AnswerPiece> CompleteTokensAsync(
        IReadOnlyList<int> prompt,
        GenerationOptions options,
        CancellationToken cancellation = default
    ) => Run(() => prompt, options, cancellation);

    /// <summary>
    /// Computes the vector of a text: the mean over its tokens of the hidden states after the final norm. It says what the text is about
    /// and is not scaled to length 1. Models are not trained for it, so compare on your own data before you rely on it.
    /// </summary>
    /// <param name="text">The text, encoded with what the model's tokenizer puts in front (BOS).</param>
    /// <param name="cancellation">Checked while others are answered, and before every chunk.</param>
    /// <returns><see cref="EmbeddingSize"/> numbers.</returns>
    /// <exception cref="DataException">The text has no tokens or more than <see cref="Context"/>.</exception>
    public Task<float[]> EmbedAsync(string text, CancellationToken cancellation = default) =>
        EmbedTokensAsync(Tokenizer.Encode(text, addSpecial: true), cancellation);

    /// <summary>The same for token ids.</summary>
    /// <param name="text">The ids, with what begins a text.</param>
    /// <param name="cancellation">Checked while others are answered, and before every chunk.</param>
    /// <returns><see cref="EmbeddingSize"/> numbers.</returns>
    /// <exception cref="DataException">There are no ids, more than <see cref="Context"/>, or one that the model lacks.</exception>
    public Task<float[]> EmbedTokensAsync(IReadOnlyList<int> text, CancellationToken cancellation = default) =>
        _queue.ComputeAsync(stop => TextEmbedding.Compute(_model.Network, text, Context, _queue.Turns.Pass, stop), cancellation);

    /// <summary>Numbers in the vector of a text: the model's hidden size.</summary>
    public int EmbeddingSize => _model.Config.HiddenSize;

    private GenerationOptions WithEndOfAnswer(GenerationOptions options) =>
        options.IgnoreEos
            ? options
            : options with
            {
                StopTokens = [.. options.StopTokens, .. _model.EndOfAnswer.StopTokens],
                // A format knows where it ends, and a text in it may contain what ends others.
                Stop = options.Format is { MayBeText: false } ? options.Stop : [.. options.Stop, .. _model.EndOfAnswer.StopTexts],
            };

    private IAsyncEnumerable<AnswerPiece> Run(Func<IReadOnlyList<int>> read, GenerationOptions options, CancellationToken cancellation) =>
        _queue.RunAsync(
            (onPiece, stop) =>
            {
                var prompt = read();
                var generator = TakeGenerator(prompt);
                try
                {
                    return generator.GeneratePieces([prompt], options, (_, piece) => onPiece(piece), stop)[0];
                }
                finally
                {
                    GiveBack(generator);
                }
            },
            cancellation
        );

    // The one that holds the beginning of the prompt. One of which more than half would be thrown away is left alone while there is
    // another way.
    private TextGenerator TakeGenerator(IReadOnlyList<int> prompt)
    {
        lock (_generators)
        {
            var best = _generators.MaxBy(g => g.Common(prompt));
            if (best is null || 2 * best.Common(prompt) < Math.Min(best.Held, prompt.Count))
                best = _made < _most ? null : _generators[0];
            if (best is not null)
            {
                _generators.Remove(best);
                return best;
            }
            _made++;
            return _newGenerator();
        }
    }

    // Answers that are generated together may need more generators than conversations are kept.
    private void GiveBack(TextGenerator generator)
    {
        lock (_generators)
        {
            _generators.Add(generator);
            if (_made <= _kept)
                return;
            _made--;
            _generators[0].Dispose();
            _generators.RemoveAt(0);
        }
    }

    /// <summary>Ends what is being answered, waits for it, and frees the model.</summary>
    public void Dispose()
    {
        _queue.Dispose();
        _queue.Turns.Remove(_model.Network);
        _generators.ForEach(g => g.Dispose());
        _model.Dispose();
    }
}
