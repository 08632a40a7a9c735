using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>
/// Tool calls in answers. They are kept in OpenAI's format, <c>tool_calls: [{type, function: {name, arguments}}]</c>, with the arguments as
/// an object. Templates expect an object and would write a string as a quoted string.
/// </summary>
internal static class ToolCalls
{
    /// <summary>The member of a message that contains them.</summary>
    public const string Member = "tool_calls";

    /// <summary>
    /// Reads calls that a file contains as text: <c>{"name": ..., "arguments": ...}</c>, or a list of these; null if the text is something
    /// else.
    /// </summary>
    public static JsonElement? Parse(string text)
    {
        if (ParseJson(text) is not { } json)
            return null;
        JsonElement[] calls = json.ValueKind == JsonValueKind.Array ? [.. json.EnumerateArray()] : [json];
        return
            calls.Length > 0
            && calls.All(c =>
                c.ValueKind == JsonValueKind.Object && c.TryGetProperty("name", out var name) && name.ValueKind == JsonValueKind.String
            )
            ? ParseJson($"[{string.Join(", ", calls.Select(call => $"{{\"type\": \"function\", \"function\": {call.GetRawText()}}}"))}]")
            : null;
    }

    /// <summary>
    /// The same calls. Arguments in a string, as OpenAI's service returns them, become the object that the string contains.
    /// </summary>
    public static JsonElement ParseArguments(JsonElement calls) => ParseJson(Rewrite(calls))!.Value;

    /// <summary>The message with its calls as JSON after its text, for templates that have no other format for them.</summary>
    /// <param name="message">The message.</param>
    /// <param name="isTagged">Whether each call stands between tags.</param>
    public static ChatMessage MoveToContent(ChatMessage message, bool isTagged = false)
    {
        if (
            message.Further is not { } further
            || !further.TryGetValue(Member, out var calls)
            || calls.ValueKind != JsonValueKind.Array
            || calls.GetArrayLength() == 0
        )
            return message;
        var texts = calls
            .EnumerateArray()
            .Select(c => c.ValueKind == JsonValueKind.Object && c.TryGetProperty("function", out var function) ? function : c)
            .Select(WriteSpaced)
            .Select(call => isTagged ? $"<tool_call>\n{call}\n</tool_call>" : call);
        return message with
        {
            Content = string.Join('\n', texts.Prepend(message.Content).Where(t => t.Length > 0)),
            Further = further.Where(f => f.Key != Member).ToDictionary(),
        };
    }

    // With the spacing of most data sets. Nested values are copied as written.
    private static string WriteSpaced(JsonElement call) =>
        call.ValueKind == JsonValueKind.Object ? WriteObject(call, p => p.Value.GetRawText()) : call.GetRawText();

    private static string Rewrite(JsonElement json) =>
        json.ValueKind switch
        {
            JsonValueKind.Array => $"[{string.Join(", ", json.EnumerateArray().Select(Rewrite))}]",
            JsonValueKind.Object => WriteObject(json, p => p.Name == "arguments" ? ParseText(p.Value).GetRawText() : Rewrite(p.Value)),
            _ => json.GetRawText(),
        };

    private static string WriteObject(JsonElement json, Func<JsonProperty, string> value) =>
        $"{{{string.Join(", ", json.EnumerateObject().Select(p => $"{JsonSerializer.Serialize(p.Name)}: {value(p)}"))}}}";

    private static JsonElement ParseText(JsonElement json) =>
        json.ValueKind == JsonValueKind.String && ParseJson(json.GetString()!) is { ValueKind: JsonValueKind.Object } inside
            ? inside
            : json;

    private static JsonElement? ParseJson(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.Clone();
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
