using System.Runtime.CompilerServices;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Generation.Structured;
using LongLora.Runtime;
using LongLora.Tokenization;
using Microsoft.Extensions.AI;
using ChatMessage = Microsoft.Extensions.AI.ChatMessage;

namespace LongLora.Extensions.AI;

/// <summary>
/// A local model as <see cref="IChatClient"/>: everything that is written for Microsoft.Extensions.AI talks to it, in this process,
/// without a server.
/// </summary>
/// <remarks>
/// It keeps no conversation: each call brings all its messages. What they share with the call before is not read again, so that a second
/// question on a long document costs the question alone; <see cref="UsageDetails.CachedInputTokenCount"/> says how much was kept. Calls
/// from several threads are answered in the order of arrival, one after the other or as many together as
/// <see cref="ChatModelOptions.ParallelAnswers"/> says, and no thread waits for its turn: it is the model's queue, so that several clients
/// may share one model.
/// </remarks>
public sealed class LongLoraChatClient : IChatClient
{
    private readonly ModelLease _lease;
    private readonly GenerationOptions _defaults;
    private readonly ChatClientMetadata _metadata;

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
        _defaults = defaults ?? new GenerationOptions();
        _defaults.Validate();
        _lease = new ModelLease(model, ownsModel, typeof(LongLoraChatClient));
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
    /// <param name="messages">
    /// The conversation, the question last. Texts, data of type <c>text/*</c>, and calls of functions with their results; nothing else.
    /// </param>
    /// <param name="options">
    /// Honoured: <see cref="ChatOptions.Instructions"/> (they begin the system message), <see cref="ChatOptions.Temperature"/>,
    /// <see cref="ChatOptions.TopP"/>, <see cref="ChatOptions.TopK"/>, <see cref="ChatOptions.Seed"/>,
    /// <see cref="ChatOptions.FrequencyPenalty"/>, <see cref="ChatOptions.PresencePenalty"/>, <see cref="ChatOptions.StopSequences"/>,
    /// <see cref="ChatOptions.MaxOutputTokens"/>, <see cref="ChatOptions.Tools"/> that are functions with
    /// <see cref="ChatOptions.ToolMode"/>, <see cref="ChatOptions.ResponseFormat"/>, to which the answer is bound token by token, and <see
    /// cref="ChatOptions.RawRepresentationFactory"/> where it gives
    /// <see cref="GenerationOptions"/>, which the others then override.
    /// </param>
    /// <param name="cancellationToken">Looked at before every chunk of the prompt and every token.</param>
    /// <exception cref="NotSupportedException">
    /// The options or a message ask for what a local model cannot give, such as an image or a tool that is no function.
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
        var request = ChatRequest.Read(messages, options, _defaults, _lease.Model.Name, this);
        var prepared = Prepare(request);
        var result = await AnswerAsync(request, prepared, cancellationToken).WholeAsync(CancellationToken.None).ConfigureAwait(false);
        var id = NewId();
        var (text, read) = prepared.NewAnswer()?.Read(result.Text) ?? (result.Text, []);
        var calls = Whole(read);
        var message = new ChatMessage(ChatRole.Assistant, [.. calls.Select(Call)]) { MessageId = id };
        if (calls.Count == 0 || !string.IsNullOrWhiteSpace(text))
            message.Contents.Insert(0, new TextContent(text));
        return new ChatResponse(message)
        {
            ResponseId = id,
            ModelId = _lease.Model.Name,
            CreatedAt = DateTimeOffset.UtcNow,
            FinishReason = Finish(result, calls.Count > 0),
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
        var request = ChatRequest.Read(messages, options, _defaults, _lease.Model.Name, this);
        var prepared = Prepare(request);
        var (id, created, answer) = (NewId(), DateTimeOffset.UtcNow, prepared.NewAnswer());
        await foreach (var piece in AnswerAsync(request, prepared, cancellationToken).ConfigureAwait(false))
        {
            var text = answer?.Append(piece.Text) ?? piece.Text;
            if (piece.Result is not { } result)
            {
                if (answer is null || text.Length > 0)
                    yield return Update([new TextContent(text)]);
                continue;
            }
            var (further, read) = answer?.Finish() ?? ("", []);
            var calls = Whole(read);
            if (!string.IsNullOrWhiteSpace(further))
                yield return Update([new TextContent(further)]);
            if (calls.Count > 0)
                yield return Update([.. calls.Select(Call)]);
            var last = Update([new UsageContent(Usage(result))]);
            (last.FinishReason, last.RawRepresentation) = (Finish(result, calls.Count > 0), result);
            yield return last;
        }

        ChatResponseUpdate Update(IList<AIContent> contents) =>
            new(ChatRole.Assistant, contents)
            {
                ResponseId = id,
                MessageId = id,
                ModelId = _lease.Model.Name,
                CreatedAt = created,
            };
    }

    /// <summary><see cref="ChatClientMetadata"/>, the <see cref="ChatModel"/>, or this client; null for anything else.</summary>
    /// <param name="serviceType">What is asked for.</param>
    /// <param name="serviceKey">Null: nothing has a key.</param>
    public object? GetService(Type serviceType, object? serviceKey = null) => _lease.Find(serviceType, serviceKey, this, _metadata);

    private PreparedChat Prepare(ChatRequest request)
    {
        _lease.ThrowIfDisposed();
        return _lease.Model.Structured.Prepare(
            request.Messages,
            ConversationForm.Standard,
            request.Tools,
            request.Format?.Schema,
            request.Format is not null
        );
    }

    // Who invokes functions must not invoke one with half of its arguments; the finish reason says that the answer was cut off.
    private static List<ToolCall> Whole(IReadOnlyList<ToolCall> calls) => [.. calls.Where(c => !c.IsCut)];

    private static FunctionCallContent Call(ToolCall call) =>
        FunctionCallContent.CreateFromParsedArguments(call.Arguments, call.Id, call.Name, text =>
            JsonSerializer.Deserialize<Dictionary<string, object?>>(text, AIJsonUtilities.DefaultOptions)
        );

    // The model's own stream, which ends with this client too.
    private async IAsyncEnumerable<AnswerPiece> AnswerAsync(
        ChatRequest request,
        PreparedChat prepared,
        [EnumeratorCancellation] CancellationToken cancellation
    )
    {
        _lease.ThrowIfDisposed();
        using var stop = _lease.Link(cancellation);
        var answer = _lease
            .Model.AnswerTokensAsync(
                prepared.Tokens,
                request.Options with
                {
                    Format = prepared.Format ?? request.Options.Format,
                },
                stop.Token
            )
            .GetAsyncEnumerator(CancellationToken.None);
        await using (answer.ConfigureAwait(false))
        {
            while (await _lease.WaitAsync(answer.MoveNextAsync(), cancellation).ConfigureAwait(false))
                yield return answer.Current;
        }
    }

    private static string NewId() => Guid.NewGuid().ToString("N");

    private static ChatFinishReason Finish(GenerationResult result, bool isCall) =>
        isCall && result.Finish != FinishReason.Length ? ChatFinishReason.ToolCalls
        : result.Finish == FinishReason.Length ? ChatFinishReason.Length
        : ChatFinishReason.Stop;

    private static UsageDetails Usage(GenerationResult result) =>
        new()
        {
            InputTokenCount = result.PromptTokens,
            CachedInputTokenCount = result.CachedTokens,
            OutputTokenCount = result.Tokens.Count,
            TotalTokenCount = result.PromptTokens + result.Tokens.Count,
        };

    /// <summary>
    /// Ends the answers that this client asked for. If the client owns the model, it waits until the model is no longer used, and disposes
    /// it.
    /// </summary>
    public void Dispose() => _lease.Dispose();
}
