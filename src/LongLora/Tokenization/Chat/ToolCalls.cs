using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>
/// Calls of tools in answers. They are held as OpenAI writes them, <c>tool_calls: [{type, function: {name, arguments}}]</c>, with the
/// arguments as an object: templates expect one, and would write a text as a text in quotes.
/// </summary>
public static class ToolCalls
{
    /// <summary>The member of a message that has them.</summary>
    public const string Member = "tool_calls";

    /// <summary>
    /// Reads calls that stand in a file as text: <c>{"name": ..., "arguments": ...}</c>, or a list of such; null where the text is
    /// something else.
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
    /// The same calls; arguments that are written as a text, as OpenAI's service gives them, become the object that the text says.
    /// </summary>
    public static JsonElement ParseArguments(JsonElement calls) => ParseJson(Rewrite(calls))!.Value;

    /// <summary>The message with its calls as JSON behind what it says, for templates that have no other form for them.</summary>
    public static ChatMessage MoveToContent(ChatMessage message)
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
            .Select(WriteSpaced);
        return message with
        {
            Content = string.Join('\n', texts.Prepend(message.Content).Where(t => t.Length > 0)),
            Further = further.Where(f => f.Key != Member).ToDictionary(),
        };
    }

    // As most data sets space it; what is within stays as it was written.
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
