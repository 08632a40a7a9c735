using System.Text.Json.Serialization;
using LongLora.Generation;
using LongLora.Generation.Structured;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/chat/completions</c>.</summary>
internal sealed class ChatFormat(GenerationRequest request) : EndpointFormat(request, "chatcmpl-")
{
    private readonly Dictionary<int, ToolAnswer?> _answers = [];

    internal override object ToWhole(IReadOnlyList<GenerationResult> results) =>
        new
        {
            id = Id,
            @object = "chat.completion",
            created = Created,
            model = Model,
            seed = Seed,
            choices = results.Select(MakeChoice),
            usage = CountTokens(results),
        };

    private object MakeChoice(GenerationResult result, int index)
    {
        var (text, calls) = Request.Chat?.NewAnswer()?.Read(result.Text) ?? (result.Text, []);
        return new
        {
            index,
            message = new Message(
                ChatMessage.Assistant,
                calls.Count > 0 && string.IsNullOrWhiteSpace(text) ? null : text,
                calls.Count > 0 ? [.. calls.Select(c => new Call(null, c.Id, "function", new(c.Name, c.Arguments)))] : null
            ),
            logprobs = LogProbabilityForm.ToChat(result.LogProbabilities, Tokenizer),
            finish_reason = GetReason(result, HasCalled(calls)),
        };
    }

    internal override IEnumerable<StreamEvent> Begin() =>
        Enumerable.Range(0, Request.Count).Select(index => MakeChunk(index, new Delta(ChatMessage.Assistant, ""), null, null));

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece)
    {
        if (!_answers.TryGetValue(index, out var answer))
            _answers[index] = answer = Request.Chat?.NewAnswer();
        var text = answer?.Append(piece.Text) ?? piece.Text;
        var (further, calls) = piece.Result is null || answer is null ? ("", []) : answer.Finish();
        if (!string.IsNullOrWhiteSpace(further))
            text += further;
        if (text.Length == 0 && piece.Result is null && piece.LogProbabilities is null or { Count: 0 } && answer is not null)
            yield break;
        yield return MakeChunk(
            index,
            new Delta(
                null,
                text.Length > 0 ? text : null,
                calls.Count > 0 ? [.. calls.Select((c, i) => new Call(i, c.Id, "function", new(c.Name, c.Arguments)))] : null
            ),
            LogProbabilityForm.ToChat(piece.LogProbabilities, Tokenizer),
            piece.Result is { } result && calls.Count == 0 ? GetReason(result) : null
        );
        if (piece.Result is { } last && calls.Count > 0)
            yield return MakeChunk(index, new Delta(null, null), null, GetReason(last, HasCalled(calls)));
    }

    internal override IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results)
    {
        if (Request.SendsUsage)
            yield return new(
                null,
                new
                {
                    id = Id,
                    @object = "chat.completion.chunk",
                    created = Created,
                    model = Model,
                    seed = Seed,
                    choices = Array.Empty<object>(),
                    usage = CountTokens(results),
                }
            );
        yield return StreamEvent.Done;
    }

    private StreamEvent MakeChunk(int index, Delta delta, object? logprobs, string? reason) =>
        new(
            null,
            new
            {
                id = Id,
                @object = "chat.completion.chunk",
                created = Created,
                model = Model,
                seed = Seed,
                choices = new[]
                {
                    new
                    {
                        index,
                        delta,
                        logprobs,
                        finish_reason = reason,
                    },
                },
            }
        );

    // A stop text may cut a call off, too.
    private static bool HasCalled(IReadOnlyList<ToolCall> calls) => calls.Count > 0 && !calls[^1].IsCut;

    private static string GetReason(GenerationResult result, bool isCall) =>
        isCall && result.Finish == FinishReason.Stop ? "tool_calls" : GetReason(result);

    private sealed record Delta(
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Role,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Content,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<Call>? ToolCalls = null
    );

    private sealed record Message(
        string Role,
        string? Content,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<Call>? ToolCalls
    );

    private sealed record Call(
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? Index,
        string Id,
        string Type,
        Function Function
    );

    private sealed record Function(string Name, string Arguments);
}
