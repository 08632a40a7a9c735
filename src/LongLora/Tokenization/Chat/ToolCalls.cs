using System.Text.Json;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// Tool calls in answers. They are kept in OpenAI's format, <c>tool_calls: [{type, function: {name, arguments}}]</c>, with the arguments as
/// an object. Templates expect an object and would write a string as a quoted string.
/// </summary>
internal static class ToolCalls
{
    /// <summary>The member of a message that contains them.</summary>
    public const string Member = "tool_calls";

    // OpenAI's first form: one call, without a list around it.
    private const string SingleMember = "function_call";

    /// <summary>The members of messages that are about calls.</summary>
    public static IReadOnlyList<string> Members { get; } = [Member, SingleMember, "tool_call_id", "tool_name"];

    /// <summary>
    /// Reads calls that a file contains as text: <c>{"name": ..., "arguments": ...}</c>, or a list of these; null if the text is something
    /// else.
    /// </summary>
    public static JsonElement? Parse(string text)
    {
        if (ParseJson(text) is not { } json)
            return null;
        JsonElement[] calls = json.ValueKind == JsonValueKind.Array ? [.. json.EnumerateArray()] : [json];
        return calls.Length > 0 && calls.All(IsCall) ? Wrap(calls) : null;
    }

    /// <summary>Functions in OpenAI's first form as a list of tools.</summary>
    public static JsonElement WrapFunctions(JsonElement functions) => Wrap(functions.EnumerateArray());

    /// <summary>
    /// Brings the calls among the fields of a message to one form. Arguments in a string, as OpenAI's service returns them, become the
    /// object that the string contains, and a <c>function_call</c> becomes one of <c>tool_calls</c>.
    /// </summary>
    public static void Normalize(Dictionary<string, JsonElement> fields)
    {
        if (!fields.ContainsKey(Member) && fields.TryGetValue(SingleMember, out var single) && IsCall(single))
        {
            fields.Remove(SingleMember);
            fields[Member] = Wrap([single]);
        }
        if (fields.TryGetValue(Member, out var calls))
            fields[Member] = ParseArguments(calls);
    }

    /// <summary>The same calls, with an object as arguments where a string contains one or is empty.</summary>
    public static JsonElement ParseArguments(JsonElement calls) => ParseJson(Rewrite(calls))!.Value;

    /// <summary>The first arguments in a string that is neither JSON nor empty; null if there are none.</summary>
    public static string? FindBroken(JsonElement calls) =>
        calls.ValueKind switch
        {
            JsonValueKind.Array => calls.EnumerateArray().Select(FindBroken).FirstOrDefault(b => b is not null),
            JsonValueKind.Object => calls.EnumerateObject().Select(FindBrokenMember).FirstOrDefault(b => b is not null),
            _ => null,
        };

    /// <summary>Whether a text that should be a call begins as JSON and is not.</summary>
    public static bool IsBroken(string text) => text.TrimStart() is ['{' or '[', ..] && ParseJson(text) is null;

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
            .Select(c => JinjaJson.Plain.Write(JinjaJson.Read(c)))
            .Select(call => isTagged ? $"<tool_call>\n{call}\n</tool_call>" : call);
        return message with
        {
            Content = string.Join('\n', texts.Prepend(message.Content).Where(t => t.Length > 0)),
            Further = further.Where(f => f.Key != Member).ToDictionary(),
        };
    }

    private static bool IsCall(JsonElement json) =>
        json.ValueKind == JsonValueKind.Object && json.TryGetProperty("name", out var name) && name.ValueKind == JsonValueKind.String;

    private static JsonElement Wrap(IEnumerable<JsonElement> functions) =>
        ParseJson($"[{string.Join(", ", functions.Select(f => $"{{\"type\": \"function\", \"function\": {f.GetRawText()}}}"))}]")!.Value;

    private static string Rewrite(JsonElement json) =>
        json.ValueKind switch
        {
            JsonValueKind.Array => $"[{string.Join(", ", json.EnumerateArray().Select(Rewrite))}]",
            JsonValueKind.Object =>
                $"{{{string.Join(", ", json.EnumerateObject().Select(p => $"{JsonSerializer.Serialize(p.Name)}: {RewriteMember(p)}"))}}}",
            _ => json.GetRawText(),
        };

    private static string RewriteMember(JsonProperty member) =>
        member.Name == "arguments" ? ParseText(member.Value).GetRawText() : Rewrite(member.Value);

    private static string? FindBrokenMember(JsonProperty member) =>
        member.Name != "arguments" ? FindBroken(member.Value)
        : member.Value.ValueKind != JsonValueKind.String ? null
        : member.Value.GetString()! is var text && !string.IsNullOrWhiteSpace(text) && ParseJson(text) is null ? text
        : null;

    // An empty text is what some clients send for a call without arguments.
    private static JsonElement ParseText(JsonElement json) =>
        json.ValueKind != JsonValueKind.String ? json
        : string.IsNullOrWhiteSpace(json.GetString()) ? ParseJson("{}")!.Value
        : ParseJson(json.GetString()!) is { ValueKind: JsonValueKind.Object } inside ? inside
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
