using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/responses</c>: one message of text.</summary>
/// <param name="request">The request.</param>
/// <param name="instructions">What the request tells the model before the conversation; null for nothing.</param>
/// <param name="metadata">What the client wants back; null for nothing.</param>
internal sealed class ResponseFormat(GenerationRequest request, string? instructions, object? metadata) : EndpointFormat(request, "resp_")
{
    private readonly string _item = "msg_" + Guid.NewGuid().ToString("N");
    private int _sequence;

    /// <summary>The form of text that the request has; null for plain text.</summary>
    internal object? TextFormat { get; init; }

    internal override object ToWhole(IReadOnlyList<GenerationResult> results) => MakeResponse(results[0]);

    internal override IEnumerable<StreamEvent> Begin()
    {
        yield return MakeEvent("response.created", ("response", MakeResponse(null)));
        yield return MakeEvent("response.in_progress", ("response", MakeResponse(null)));
        yield return MakeEvent("response.output_item.added", ("output_index", 0), ("item", MakeItem(null)));
        yield return MakePartEvent("response.content_part.added", ("part", MakePart("")));
    }

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece) =>
        piece.Text.Length == 0
            ? []
            : [MakePartEvent("response.output_text.delta", ("delta", piece.Text), ("logprobs", Array.Empty<object>()))];

    internal override IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results)
    {
        var result = results[0];
        yield return MakePartEvent("response.output_text.done", ("text", result.Text), ("logprobs", Array.Empty<object>()));
        yield return MakePartEvent("response.content_part.done", ("part", MakePart(result.Text)));
        yield return MakeEvent("response.output_item.done", ("output_index", 0), ("item", MakeItem(result)));
        yield return MakeEvent($"response.{GetStatus(result)}", ("response", MakeResponse(result)));
    }

    internal override StreamEvent ToError(ApiException error) =>
        MakeEvent("error", ("code", error.Body.Error.Code), ("message", error.Message), ("param", error.Body.Error.Param));

    private static string GetStatus(GenerationResult? result) =>
        result is null ? "in_progress"
        : result.Finish == FinishReason.Stop ? "completed"
        : "incomplete";

    private StreamEvent MakePartEvent(string type, params ReadOnlySpan<(string Name, object? Value)> members) =>
        MakeEvent(type, [("item_id", _item), ("output_index", 0), ("content_index", 0), .. members]);

    private StreamEvent MakeEvent(string type, params ReadOnlySpan<(string Name, object? Value)> members)
    {
        var data = new Dictionary<string, object?> { ["type"] = type, ["sequence_number"] = _sequence++ };
        foreach (var (name, value) in members)
            data[name] = value;
        return new(type, data);
    }

    private static object MakePart(string text) =>
        new
        {
            type = "output_text",
            text,
            annotations = Array.Empty<object>(),
            logprobs = Array.Empty<object>(),
        };

    private object MakeItem(GenerationResult? result) =>
        new
        {
            type = "message",
            id = _item,
            status = GetStatus(result),
            role = ChatMessage.Assistant,
            content = result is null ? [] : new[] { MakePart(result.Text) },
        };

    private object MakeResponse(GenerationResult? result) =>
        new
        {
            id = Id,
            @object = "response",
            created_at = Created,
            status = GetStatus(result),
            error = (object?)null,
            incomplete_details = result?.Finish == FinishReason.Length ? new { reason = "max_output_tokens" } : null,
            instructions,
            max_output_tokens = Request.Options.MaxTokens,
            model = Model,
            seed = Seed,
            output = result is null ? [] : new[] { MakeItem(result) },
            parallel_tool_calls = true,
            previous_response_id = (object?)null,
            reasoning = new { effort = (object?)null, summary = (object?)null },
            store = false,
            temperature = Request.Options.Temperature,
            text = new { format = TextFormat ?? new { type = "text" } },
            tool_choice = "auto",
            tools = Array.Empty<object>(),
            top_p = Request.Options.TopP,
            truncation = "disabled",
            usage = result is null
                ? null
                : new
                {
                    input_tokens = result.PromptTokens,
                    input_tokens_details = new { cached_tokens = result.CachedTokens },
                    output_tokens = result.Tokens.Count,
                    output_tokens_details = new { reasoning_tokens = 0 },
                    total_tokens = result.PromptTokens + result.Tokens.Count,
                },
            metadata = metadata ?? new { },
        };
}
