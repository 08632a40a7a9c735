using System.Runtime.CompilerServices;
using System.Threading.Channels;
using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;

namespace LongLora.Extensions.AI;

/// <summary>
/// A local model as <see cref="IChatClient"/>: everything that is written for Microsoft.Extensions.AI talks to it, in this process,
/// without a server.
/// </summary>
/// <remarks>
/// It keeps no conversation: each call brings all its messages. What they share with the call before is not read again, so that a second
/// question on a long document costs the question alone; <see cref="UsageDetails.CachedInputTokenCount"/> says how much was kept. Calls
/// from several threads are answered one after the other, in the order of arrival, and no thread waits for its turn. Each answer is made
/// on a thread of its own.
/// </remarks>
public sealed class LongLoraChatClient : IChatClient
{
    private readonly ChatModel _model;
    private readonly bool _ownsModel;
    private readonly GenerationOptions _defaults;
    private readonly ChatClientMetadata _metadata;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _closing = new();
    private int _disposed;

    /// <summary>A client over a model that is open.</summary>
    /// <param name="model">The model; it has a chat template.</param>
    /// <param name="ownsModel">Whether the model is disposed with the client. Default: it is not.</param>
    /// <param name="defaults">
    /// What holds where <see cref="ChatOptions"/> say nothing; null for greedy answers of at most 256 tokens.
    /// </param>
    /// <exception cref="ConfigurationException">The model has no chat template, or a default is wrong.</exception>
    public LongLoraChatClient(ChatModel model, bool ownsModel = false, GenerationOptions? defaults = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (!model.HasTemplate)
        {
            throw new ConfigurationException(
                $"'{model.Directory}' has no chat template, so that it cannot answer messages. Open it with "
                    + $"{nameof(ChatModelOptions)}.{nameof(ChatModelOptions.Template)} = one of "
                    + $"{string.Join(", ", Tokenization.ChatTemplate.Names)}, or a file."
            );
        }
        (_model, _ownsModel, _defaults) = (model, ownsModel, defaults ?? new GenerationOptions());
        _defaults.Validate();
        _metadata = new ChatClientMetadata("longlora", providerUri: null, model.Name);
    }

    /// <summary>Opens a model and a client that owns it.</summary>
    /// <param name="options">What the model is made of.</param>
    /// <param name="defaults">
    /// What holds where <see cref="ChatOptions"/> say nothing; null for greedy answers of at most 256 tokens.
    /// </param>
    /// <exception cref="CheckpointException">Model, adapter, tokenizer or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">The model has no chat template, or an option does not fit it.</exception>
    public static LongLoraChatClient Open(ChatModelOptions options, GenerationOptions? defaults = null)
    {
        var model = ChatModel.Open(options);
        try
        {
            return new LongLoraChatClient(model, ownsModel: true, defaults);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Answers a conversation.</summary>
    /// <param name="messages">The conversation, the question last. Texts, and data of type <c>text/*</c>; nothing else.</param>
    /// <param name="options">
    /// Honoured: <see cref="ChatOptions.Instructions"/> (they begin the system message), <see cref="ChatOptions.Temperature"/>,
    /// <see cref="ChatOptions.TopP"/>, <see cref="ChatOptions.TopK"/>, <see cref="ChatOptions.Seed"/> (its lower 32 bits),
    /// <see cref="ChatOptions.StopSequences"/>,
    /// <see cref="ChatOptions.MaxOutputTokens"/>, and <see cref="ChatOptions.RawRepresentationFactory"/> where it gives
    /// <see cref="GenerationOptions"/>, which the others then override.
    /// </param>
    /// <param name="cancellationToken">Looked at before every chunk of the prompt and every token.</param>
    /// <exception cref="NotSupportedException">
    /// The options or a message ask for what a local model cannot give, such as tools, a response format or an image.
    /// </exception>
    /// <exception cref="ConfigurationException">An option is out of its range.</exception>
    /// <exception cref="DataException">The template refuses the conversation, or it leaves no room in the context.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public async Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages,
        ChatOptions? options = null,
        CancellationToken cancellationToken = default
    )
    {
        var request = ChatRequest.Read(messages, options, _defaults, _model.Name, this);
        var result = await GenerateAsync(request, null, cancellationToken).ConfigureAwait(false);
        var id = NewId();
        return new ChatResponse(new ChatMessage(ChatRole.Assistant, result.Text) { MessageId = id })
        {
            ResponseId = id,
            ModelId = _model.Name,
            CreatedAt = DateTimeOffset.UtcNow,
            FinishReason = Finish(result),
            Usage = Usage(result),
            RawRepresentation = result,
        };
    }

    /// <summary>Answers a conversation piece by piece: each is handed on as soon as later tokens cannot change it.</summary>
    /// <param name="messages">As for <see cref="GetResponseAsync"/>.</param>
    /// <param name="options">As for <see cref="GetResponseAsync"/>.</param>
    /// <param name="cancellationToken">
    /// Looked at before every chunk of the prompt and every token. Leaving the enumeration ends the generation as well.
    /// </param>
    /// <returns>Pieces of text, and a last update without text that has the finish reason and the usage.</returns>
    /// <exception cref="NotSupportedException">
    /// As for <see cref="GetResponseAsync"/>; it and all others come with the first update.
    /// </exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages,
        ChatOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default
    )
    {
        var request = ChatRequest.Read(messages, options, _defaults, _model.Name, this);
        var pieces = Channel.CreateUnbounded<string>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
        using var left = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var generation = WriteAsync(request, pieces.Writer, left.Token);
        var (id, created) = (NewId(), DateTimeOffset.UtcNow);
        ChatResponseUpdate Update(AIContent content) =>
            new(ChatRole.Assistant, [content])
            {
                ResponseId = id,
                MessageId = id,
                ModelId = _model.Name,
                CreatedAt = created,
            };
        try
        {
            await foreach (var piece in pieces.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
                yield return Update(new TextContent(piece));
            var result = await generation.ConfigureAwait(false);
            var last = Update(new UsageContent(Usage(result)));
            (last.FinishReason, last.RawRepresentation) = (Finish(result), result);
            yield return last;
        }
        finally
        {
            // Whoever leaves finds the model free: the generation ends with the token that it is at.
            await left.CancelAsync().ConfigureAwait(false);
            await ((Task)generation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary><see cref="ChatClientMetadata"/>, the <see cref="ChatModel"/>, or this client; null for anything else.</summary>
    /// <param name="serviceType">What is asked for.</param>
    /// <param name="serviceKey">Null: nothing has a key.</param>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        if (serviceKey is not null)
            return null;
        return serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType == typeof(ChatModel) ? _model
            : serviceType.IsInstanceOfType(this) ? this
            : null;
    }

    private async Task<GenerationResult> WriteAsync(ChatRequest request, ChannelWriter<string> pieces, CancellationToken cancellation)
    {
        try
        {
            return await GenerateAsync(request, text => pieces.TryWrite(text), cancellation).ConfigureAwait(false);
        }
        finally
        {
            pieces.Complete();
        }
    }

    private async Task<GenerationResult> GenerateAsync(ChatRequest request, Action<string>? onText, CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _closing.Token);
        try
        {
            await _turn.WaitAsync(stop.Token).ConfigureAwait(false);
            try
            {
                return await Task
                    .Factory.StartNew(
                        () => _model.Answer(request.Messages, request.Options, onText, stop.Token),
                        stop.Token,
                        TaskCreationOptions.LongRunning,
                        TaskScheduler.Default
                    )
                    .ConfigureAwait(false);
            }
            finally
            {
                _turn.Release();
            }
        }
        catch (OperationCanceledException e) when (stop.IsCancellationRequested)
        {
            if (cancellation.IsCancellationRequested)
                throw new OperationCanceledException(e.Message, e, cancellation);
            throw new ObjectDisposedException(nameof(LongLoraChatClient), e);
        }
    }

    private static string NewId() => Guid.NewGuid().ToString("N");

    private static ChatFinishReason Finish(GenerationResult result) =>
        result.Finish == FinishReason.Length ? ChatFinishReason.Length : ChatFinishReason.Stop;

    private static UsageDetails Usage(GenerationResult result) =>
        new()
        {
            InputTokenCount = result.PromptTokens,
            CachedInputTokenCount = result.CachedTokens,
            OutputTokenCount = result.Tokens.Count,
            TotalTokenCount = result.PromptTokens + result.Tokens.Count,
        };

    /// <summary>Ends what is being answered, waits for it, and disposes the model if the client owns it.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        _closing.Cancel();
        _turn.Wait(); // kept: nothing is answered any more
        if (_ownsModel)
            _model.Dispose();
    }
}
