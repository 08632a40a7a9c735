using System.Text.Json;
using LongLora.Generation.Structured;
using LongLora.Loading;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Generation;

/// <summary>
/// A model ready to answer: what chat, serve and <c>IChatClient</c> stand on. An answer comes as a stream of pieces, the last of which has
/// the result; leaving the stream ends the generation. What a conversation shares with the one before it is not read again. It may be
/// asked from several threads at once; the answers are made one after the other, in the order in which they were asked for.
/// </summary>
public sealed class ChatModel : IDisposable
{
    private readonly LoadedModel _model;
    private readonly Func<TextGenerator> _newGenerator;
    private readonly List<TextGenerator> _generators = []; // used last comes last
    private readonly int _kept;
    private readonly AnswerQueue _queue = new();
    private StructuredChat? _chat;

    private ChatModel(ChatModelOptions options, LoadedModel model, ITokenizer tokenizer)
    {
        (_model, Tokenizer, _kept) = (model, tokenizer, options.KeptConversations);
        _newGenerator = () => new TextGenerator(model.Network, tokenizer, options.Context, options.CacheType, options.Streaming);
        _generators.Add(_newGenerator());
        Context = _generators[0].Context;
        TrainedContext = RopeScaling.GetCurrentContext(model.Config);
    }

    /// <summary>Opens a model.</summary>
    /// <param name="options">What it is made of.</param>
    /// <exception cref="CheckpointException">Model, adapter, tokenizer or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static ChatModel Open(ChatModelOptions options)
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
            return new ChatModel(options, model, tokenizer);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Name of the model's folder.</summary>
    public string Name => _model.Source.Name;

    /// <summary>The model's folder as it was given.</summary>
    public string Directory => _model.Source.Location;

    /// <summary>Most tokens of conversation and answer together.</summary>
    public int Context { get; }

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
    public IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages) => Prepare(messages).Tokens;

    /// <summary>A conversation as the model reads it, up to where its answer begins, with the format of the answer.</summary>
    /// <param name="messages">The conversation; the last message asks.</param>
    /// <param name="tools">Tools that the answer may or must call; null for none.</param>
    /// <param name="schema">JSON schema of an answer that calls nothing; null for free text.</param>
    /// <param name="isJson">Whether such an answer is any JSON object.</param>
    /// <exception cref="ConfigurationException">
    /// There is no chat template, a schema cannot be followed, or calls of this template cannot be read.
    /// </exception>
    /// <exception cref="DataException">The conversation is empty, or the template refuses it.</exception>
    internal PreparedChat Prepare(
        IReadOnlyList<ChatMessage> messages,
        ToolUse? tools = null,
        JsonElement? schema = null,
        bool isJson = false
    )
    {
        if (_model.Template is not { } template)
        {
            throw new ConfigurationException(
                $"'{Directory}' has no chat template, neither in tokenizer_config.json nor as chat_template.jinja. "
                    + $"Choose one with --template: {string.Join(", ", ChatTemplate.Names)}, or a file."
            );
        }
        return LazyInitializer.EnsureInitialized(ref _chat, () => new StructuredChat(template, Tokenizer)).Prepare(messages, tools, schema, isJson);
    }

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

    /// <summary>Answers a conversation that <see cref="Encode"/> gave.</summary>
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

    /// <summary>Goes on from a text, encoded with what the model's tokenizer puts in front (BOS).</summary>
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
    ) => Run(() => Tokenizer.Encode(prompt, addSpecial: true), options, cancellation);

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

    private GenerationOptions WithEndOfAnswer(GenerationOptions options) =>
        options with
        {
            StopTokens = [.. options.StopTokens, .. _model.EndOfAnswer.StopTokens],
            Stop = [.. options.Stop, .. _model.EndOfAnswer.StopTexts],
        };

    private IAsyncEnumerable<AnswerPiece> Run(Func<IReadOnlyList<int>> read, GenerationOptions options, CancellationToken cancellation) =>
        _queue.RunAsync(
            (onText, stop) =>
            {
                var prompt = read();
                return Generator(prompt).Generate([prompt], options, (_, text) => onText(text), stop)[0];
            },
            cancellation
        );

    // The one that holds the beginning of the prompt. One of which more than half would be thrown away is left alone while there is
    // another way.
    private TextGenerator Generator(IReadOnlyList<int> prompt)
    {
        var best = _generators.MaxBy(g => g.Common(prompt))!;
        if (2 * best.Common(prompt) < Math.Min(best.Held, prompt.Count))
        {
            best = _generators.Count < _kept ? _newGenerator() : _generators[0];
        }
        _generators.Remove(best);
        _generators.Add(best);
        return best;
    }

    /// <summary>Ends what is being answered, waits for it, and frees the model.</summary>
    public void Dispose()
    {
        _queue.Dispose();
        _generators.ForEach(g => g.Dispose());
        _model.Dispose();
    }
}
