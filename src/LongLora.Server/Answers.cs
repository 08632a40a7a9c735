using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Answers in the form of OpenAI's API: whole, or as the pieces of a stream.</summary>
/// <param name="id">Identifier of the answer.</param>
/// <param name="created">Seconds since 1970.</param>
/// <param name="model">Name of the model.</param>
/// <param name="tokenizer">Its tokenizer, for the texts of single tokens.</param>
/// <param name="isChat">Whether it is a conversation.</param>
internal sealed class Answers(string id, long created, string model, ITokenizer tokenizer, bool isChat)
{
    internal static JsonSerializerOptions Json { get; } =
        new()
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };

    internal object Whole(GenerationResult result) =>
        isChat
            ? new
            {
                id,
                @object = "chat.completion",
                created,
                model,
                choices = new[]
                {
                    new
                    {
                        index = 0,
                        message = new { role = ChatMessage.Assistant, content = result.Text },
                        logprobs = LogProbabilities(result),
                        finish_reason = Reason(result),
                    },
                },
                usage = Usage(result),
            }
            : new
            {
                id,
                @object = "text_completion",
                created,
                model,
                choices = new[]
                {
                    new
                    {
                        index = 0,
                        text = result.Text,
                        logprobs = LogProbabilities(result),
                        finish_reason = Reason(result),
                    },
                },
                usage = Usage(result),
            };

    /// <summary>The first piece of a stream; null where it has none of its own.</summary>
    internal object? First() => isChat ? Piece(new Delta(ChatMessage.Assistant, ""), null, null) : null;

    internal object Text(string text) => Piece(isChat ? new Delta(null, text) : text, null, null);

    /// <summary>The last piece, with all log-probabilities.</summary>
    internal object Last(GenerationResult result) => Piece(isChat ? new Delta(null, null) : "", LogProbabilities(result), Reason(result));

    /// <summary>The numbers of tokens, which come behind the last piece where they were asked for.</summary>
    internal object UsageAlone(GenerationResult result) =>
        new
        {
            id,
            @object = Kind,
            created,
            model,
            choices = Array.Empty<object>(),
            usage = Usage(result),
        };

    private string Kind => isChat ? "chat.completion.chunk" : "text_completion";

    private object Piece(object content, object? logprobs, string? reason) =>
        content is Delta delta
            ? new
            {
                id,
                @object = Kind,
                created,
                model,
                choices = new[]
                {
                    new
                    {
                        index = 0,
                        delta,
                        logprobs,
                        finish_reason = reason,
                    },
                },
            }
            : new
            {
                id,
                @object = Kind,
                created,
                model,
                choices = new[]
                {
                    new
                    {
                        index = 0,
                        text = content,
                        logprobs,
                        finish_reason = reason,
                    },
                },
            };

    private static string Reason(GenerationResult result) => result.Finish == FinishReason.Stop ? "stop" : "length";

    private static object Usage(GenerationResult result) =>
        new
        {
            prompt_tokens = result.PromptTokens,
            completion_tokens = result.Tokens.Count,
            total_tokens = result.PromptTokens + result.Tokens.Count,
            prompt_tokens_details = new { cached_tokens = result.CachedTokens },
        };

    private object? LogProbabilities(GenerationResult result)
    {
        if (result.LogProbabilities is not { } tokens)
            return null;
        if (isChat)
            return new
            {
                content = tokens.Select(t => new
                {
                    token = Of(t.Token),
                    logprob = t.LogProbability,
                    bytes = Bytes(t.Token),
                    top_logprobs = t.Likeliest.Select(l => new
                    {
                        token = Of(l.Token),
                        logprob = l.LogProbability,
                        bytes = Bytes(l.Token),
                    }),
                }),
            };
        var offset = 0;
        var offsets = tokens.Select(t => (offset += Of(t.Token).Length) - Of(t.Token).Length).ToList();
        return new
        {
            tokens = tokens.Select(t => Of(t.Token)),
            token_logprobs = tokens.Select(t => t.LogProbability),
            top_logprobs = tokens.Select(t =>
                t.Likeliest.GroupBy(l => Of(l.Token)).ToDictionary(l => l.Key, l => l.First().LogProbability)
            ),
            text_offset = offsets,
        };
    }

    private string Of(int token) => tokenizer.Decode([token], skipSpecial: false);

    private IEnumerable<int> Bytes(int token) => Encoding.UTF8.GetBytes(Of(token)).Select(b => (int)b);

    private sealed record Delta(
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Role,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Content
    );
}
