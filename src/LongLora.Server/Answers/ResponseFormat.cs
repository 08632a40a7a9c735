using System.Text;
using LongLora.Generation;
using LongLora.Generation.Structured;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/responses</c>: a message of text, calls of functions, or both.</summary>
/// <param name="request">The request.</param>
/// <param name="instructions">What the request tells the model before the conversation; null for nothing.</param>
/// <param name="metadata">What the client wants back; null for nothing.</param>
internal sealed class ResponseFormat(GenerationRequest request, string? instructions, object? metadata) : EndpointFormat(request, "resp_")
{
    private readonly string _item = "msg_" + Guid.NewGuid().ToString("N");
    private readonly ToolAnswer? _answer = request.Chat?.NewAnswer();
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _held = new(); // white space that may stand before a call
    private IReadOnlyList<ResponseCall> _calls = [];
    private bool _hasMessage;
    private int _sequence;

    /// <summary>The form of text that the request has; null for plain text.</summary>
    internal object? TextFormat { get; init; }

    /// <summary>The tools of the request, as they were given; null for none.</summary>
    internal object? Tools { get; init; }

    /// <summary>How the request lets tools be chosen; null for no wish.</summary>
    internal object? ToolChoice { get; init; }

    /// <summary>Whether an answer may have several calls.</summary>
    internal bool IsParallel { get; init; } = true;

    internal override object ToWhole(IReadOnlyList<GenerationResult> results)
    {
        var (text, calls) = _answer?.Read(results[0].Text) ?? (results[0].Text, []);
        _calls = ResponseCall.Number(calls);
        _hasMessage = calls.Count == 0 || !string.IsNullOrWhiteSpace(text);
        _text.Append(text);
        return MakeResponse(results[0]);
    }

    internal override IEnumerable<StreamEvent> Begin()
    {
        yield return MakeEvent("response.created", ("response", MakeResponse(null)));
        yield return MakeEvent("response.in_progress", ("response", MakeResponse(null)));
        if (_answer is not null)
            yield break;
        foreach (var started in BeginMessage())
            yield return started;
    }

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece)
    {
        _held.Append(_answer?.Append(piece.Text) ?? piece.Text);
        if (piece.Result is not null && _answer is not null)
        {
            var (further, calls) = _answer.Finish();
            _held.Append(further);
            _calls = ResponseCall.Number(calls);
        }
        return _hasMessage || !string.IsNullOrWhiteSpace(_held.ToString()) ? SendText() : [];
    }

    internal override IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results)
    {
        var result = results[0];
        if (!_hasMessage && _calls.Count == 0)
        {
            foreach (var rest in SendText())
                yield return rest;
        }
        if (_hasMessage)
        {
            yield return MakePartEvent("response.output_text.done", ("text", _text.ToString()), ("logprobs", Array.Empty<object>()));
            yield return MakePartEvent("response.content_part.done", ("part", MakePart(_text.ToString())));
            yield return MakeEvent("response.output_item.done", ("output_index", 0), ("item", MakeItem(result)));
        }
        foreach (var (place, call) in _calls.Index())
        {
            foreach (var told in SendCall((_hasMessage ? 1 : 0) + place, call))
                yield return told;
        }
        yield return MakeEvent($"response.{GetStatus(result)}", ("response", MakeResponse(result)));
    }

    internal override StreamEvent ToError(ApiException error) =>
        MakeEvent("error", ("code", error.Body.Error.Code), ("message", error.Message), ("param", error.Body.Error.Param));

    private IEnumerable<StreamEvent> BeginMessage()
    {
        _hasMessage = true;
        yield return MakeEvent("response.output_item.added", ("output_index", 0), ("item", MakeItem(null)));
        yield return MakePartEvent("response.content_part.added", ("part", MakePart("")));
    }

    private IEnumerable<StreamEvent> SendText()
    {
        if (!_hasMessage)
        {
            foreach (var started in BeginMessage())
                yield return started;
        }
        if (_held.Length == 0)
            yield break;
        var text = _held.ToString();
        _held.Clear();
        _text.Append(text);
        yield return MakePartEvent("response.output_text.delta", ("delta", text), ("logprobs", Array.Empty<object>()));
    }

    // A call is certain when the answer has ended, so its arguments come at once.
    private IEnumerable<StreamEvent> SendCall(int place, ResponseCall call)
    {
        StreamEvent Make(string type, params ReadOnlySpan<(string Name, object? Value)> members) =>
            MakeEvent($"response.function_call_arguments.{type}", [("item_id", call.Id), ("output_index", place), .. members]);

        yield return MakeEvent("response.output_item.added", ("output_index", place), ("item", call.ToItem("in_progress")));
        yield return Make("delta", ("delta", call.Call.Arguments));
        if (!call.Call.IsCut)
            yield return Make("done", ("name", call.Call.Name), ("arguments", call.Call.Arguments));
        yield return MakeEvent("response.output_item.done", ("output_index", place), ("item", call.ToItem(call.Status)));
    }

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
            content = result is null ? [] : new[] { MakePart(_text.ToString()) },
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
            output = result is null
                ? []
                : (object[])[.. _hasMessage ? [MakeItem(result)] : (object[])[], .. _calls.Select(c => c.ToItem(c.Status))],
            parallel_tool_calls = IsParallel,
            previous_response_id = (object?)null,
            reasoning = new { effort = (object?)null, summary = (object?)null },
            store = false,
            temperature = Request.Options.Temperature,
            text = new { format = TextFormat ?? new { type = "text" } },
            tool_choice = ToolChoice ?? "auto",
            tools = Tools ?? Array.Empty<object>(),
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
