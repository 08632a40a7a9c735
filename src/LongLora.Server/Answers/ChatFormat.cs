using System.Text.Json.Serialization;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/chat/completions</c>.</summary>
internal sealed class ChatFormat(GenerationRequest request) : AnswerFormat(request, "chatcmpl-")
{
    internal override object ToWhole(IReadOnlyList<GenerationResult> results) =>
        new
        {
            id = Id,
            @object = "chat.completion",
            created = Created,
            model = Model,
            seed = Seed,
            choices = results.Select(
                (result, index) =>
                    new
                    {
                        index,
                        message = new { role = ChatMessage.Assistant, content = result.Text },
                        logprobs = LogProbabilityForm.ToChat(result.LogProbabilities, Tokenizer),
                        finish_reason = GetReason(result),
                    }
            ),
            usage = CountTokens(results),
        };

    internal override IEnumerable<StreamEvent> Begin() =>
        Enumerable.Range(0, Request.Count).Select(index => MakeChunk(index, new Delta(ChatMessage.Assistant, ""), null, null));

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece) =>
        [
            MakeChunk(
                index,
                new Delta(null, piece.Text.Length > 0 ? piece.Text : null),
                LogProbabilityForm.ToChat(piece.LogProbabilities, Tokenizer),
                piece.Result is { } result ? GetReason(result) : null
            ),
        ];

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

    private sealed record Delta(
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Role,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Content
    );
}
