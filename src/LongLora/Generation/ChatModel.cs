using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Generation;

/// <summary>
/// A model folder, with an adapter if there is one, ready to answer: model, tokenizer and chat template. What a conversation shares with
/// the one before it is not read again. It may be called from several threads; they are answered one after the other.
/// </summary>
public sealed class ChatModel : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly AdapterSet? _adapter;
    private readonly ChatTemplate? _template;
    private readonly Func<TextGenerator> _newGenerator;
    private readonly List<TextGenerator> _generators = []; // used last comes last
    private readonly int _kept;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly IReadOnlyList<int> _endTokens;
    private readonly IReadOnlyList<string> _endTexts;

    private ChatModel(
        ChatModelOptions options,
        CausalLanguageModel model,
        AdapterSet? adapter,
        ITokenizer tokenizer,
        ChatTemplate? template
    )
    {
        (_model, _adapter, Tokenizer, _template) = (model, adapter, tokenizer, template);
        Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.Model)));
        Directory = options.Model;
        (_endTokens, _endTexts) = template is null ? ([], []) : EndOfAnswer(template, tokenizer);
        _kept = options.KeptConversations;
        _newGenerator = () => new TextGenerator(model, tokenizer, options.Context, options.CacheType, options.Streaming);
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
        if (options.Adapter is { } adapterPath)
            PeftFormat.RequireSupported(adapterPath); // before a weight is read
        var tokenizer = TokenizerLoader.Load(options.Model);
        var template = options.Template switch
        {
            null => null,
            "auto" => ChatTemplate.ReadOfModel(options.Model),
            var choice => ChatTemplate.Find(choice, options.Model),
        };
        var folder = CheckpointDirectory.Open(options.Model); // the model owns it
        var model = ModelLoader.Load(folder.Config, folder, Devices.Parse(options.Device), options.Quantization);
        AdapterSet? adapter = null;
        try
        {
            if (options.Adapter is { } path)
                adapter = PeftFormat.Attach(path, model, options.AdapterReading);
            return new ChatModel(options, model, adapter, tokenizer, template);
        }
        catch
        {
            adapter?.Dispose();
            model.Dispose();
            throw;
        }
    }

    /// <summary>Name of the model's folder.</summary>
    public string Name { get; }

    /// <summary>The model's folder as it was given.</summary>
    public string Directory { get; }

    /// <summary>Most tokens of conversation and answer together.</summary>
    public int Context { get; }

    /// <summary>Tokens that the model was made for, by its config.</summary>
    public int TrainedContext { get; }

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Whether there is a chat template; without one only <c>Complete</c> works.</summary>
    public bool HasTemplate => _template is not null;

    /// <summary>A conversation as the model reads it, up to where its answer begins.</summary>
    /// <param name="messages">The conversation; the last message asks.</param>
    /// <exception cref="ConfigurationException">There is no chat template.</exception>
    /// <exception cref="DataException">The conversation is empty, or the template refuses it.</exception>
    public IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages)
    {
        if (_template is null)
        {
            throw new ConfigurationException(
                $"'{Directory}' has no chat template, neither in tokenizer_config.json nor as chat_template.jinja. "
                    + $"Choose one with --template: {string.Join(", ", ChatTemplate.Names)}, or a file."
            );
        }
        if (messages.Count == 0)
            throw new DataException("The conversation is empty; give at least one message.");
        return _template.Render(messages, Tokenizer, addGenerationPrompt: true).Encode(Tokenizer).Ids;
    }

    /// <summary>Answers a conversation.</summary>
    /// <param name="messages">The conversation; the last message asks.</param>
    /// <param name="options">How. What the template writes behind an answer ends it as well.</param>
    /// <param name="onText">Given each piece of the answer as soon as it is certain, on the thread that calls.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <exception cref="ConfigurationException">There is no chat template, or an option is wrong.</exception>
    /// <exception cref="DataException">The template refuses the conversation, or it leaves no room in the context.</exception>
    public GenerationResult Answer(
        IReadOnlyList<ChatMessage> messages,
        GenerationOptions options,
        Action<string>? onText = null,
        CancellationToken cancellation = default
    ) => AnswerTokens(Encode(messages), options, onText, cancellation);

    /// <summary>Answers a conversation that <see cref="Encode"/> gave.</summary>
    /// <param name="conversation">Its tokens.</param>
    /// <param name="options">How. What the template writes behind an answer ends it as well.</param>
    /// <param name="onText">Given each piece of the answer as soon as it is certain, on the thread that calls.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The conversation leaves no room in the context.</exception>
    public GenerationResult AnswerTokens(
        IReadOnlyList<int> conversation,
        GenerationOptions options,
        Action<string>? onText = null,
        CancellationToken cancellation = default
    ) =>
        Generate(
            conversation,
            options with
            {
                StopTokens = [.. options.StopTokens, .. _endTokens],
                Stop = [.. options.Stop, .. _endTexts],
            },
            onText,
            cancellation
        );

    /// <summary>Goes on from a text, encoded with what the model's tokenizer puts in front (BOS).</summary>
    /// <param name="prompt">The text.</param>
    /// <param name="options">How.</param>
    /// <param name="onText">Given each piece of the answer as soon as it is certain, on the thread that calls.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The prompt is empty, or leaves no room in the context.</exception>
    public GenerationResult Complete(
        string prompt,
        GenerationOptions options,
        Action<string>? onText = null,
        CancellationToken cancellation = default
    ) => CompleteTokens(Tokenizer.Encode(prompt, addSpecial: true), options, onText, cancellation);

    /// <summary>Goes on from token ids.</summary>
    /// <param name="prompt">The ids, with what begins a text.</param>
    /// <param name="options">How.</param>
    /// <param name="onText">Given each piece of the answer as soon as it is certain, on the thread that calls.</param>
    /// <param name="cancellation">Looked at while others are answered, and before every chunk and token.</param>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    /// <exception cref="DataException">The prompt is empty, or leaves no room in the context.</exception>
    public GenerationResult CompleteTokens(
        IReadOnlyList<int> prompt,
        GenerationOptions options,
        Action<string>? onText = null,
        CancellationToken cancellation = default
    ) => Generate(prompt, options, onText, cancellation);

    private GenerationResult Generate(
        IReadOnlyList<int> prompt,
        GenerationOptions options,
        Action<string>? onText,
        CancellationToken cancellation
    )
    {
        _turn.Wait(cancellation);
        try
        {
            return Generator(prompt).Generate([prompt], options, onText is null ? null : (_, text) => onText(text), cancellation)[0];
        }
        finally
        {
            _turn.Release();
        }
    }

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

    // What stands behind an answer: a token where the tokenizer has it, and text where it has not, as with a template by name on a model
    // of another kind.
    private static (IReadOnlyList<int> Tokens, IReadOnlyList<string> Texts) EndOfAnswer(ChatTemplate template, ITokenizer tokenizer)
    {
        const string Said = "said";
        string text;
        try
        {
            text = template.Render([new("user", "x"), new(ChatMessage.Assistant, Said)], tokenizer).Text;
        }
        catch (DataException)
        {
            return ([], []);
        }
        var end = text[(text.LastIndexOf(Said, StringComparison.Ordinal) + Said.Length)..].Trim();
        var close = end.StartsWith('<') ? end.IndexOf('>', StringComparison.Ordinal) + 1 : 0;
        if (close == 0)
            return ([], []);
        end = end[..close];
        return tokenizer.FindToken(end) is { } token ? ([token], []) : ([], [end]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _generators.ForEach(g => g.Dispose());
        _adapter?.Dispose();
        _model.Dispose();
        _turn.Dispose();
    }
}
