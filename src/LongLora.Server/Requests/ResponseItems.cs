using System.Text.Json;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>The <c>input</c> of <c>/v1/responses</c>: a text, or items that are messages, calls of functions, and their results.</summary>
internal sealed class ResponseItems
{
    private static readonly string[] s_roles = ["system", "developer", "user", "assistant"];

    private readonly List<ChatMessage> _messages = [];

    // Results have the identifier of their call alone; templates write its name.
    private readonly Dictionary<string, string> _called = new(StringComparer.Ordinal);

    /// <summary>Reads the field.</summary>
    internal static List<ChatMessage> Read(RequestFields fields)
    {
        if (fields.Find("input") is not { } input)
            throw new ApiException(400, "input is missing; give a text, or an array of messages.", "input", "invalid_value");
        if (input.ValueKind == JsonValueKind.String)
            return [new("user", input.GetString()!)];
        if (input.ValueKind != JsonValueKind.Array || input.GetArrayLength() == 0)
            throw RequestFields.Wrong("input", input, "a text, or an array of messages, function calls and their outputs");
        var items = new ResponseItems();
        foreach (var (i, item) in input.EnumerateArray().Index())
            items.Add(new RequestFields(item, $"input[{i}]"));
        return items._messages;
    }

    private void Add(RequestFields item)
    {
        item.Accept("id", "status");
        switch (item.FindText("type") ?? "message")
        {
            case "message":
                AddMessage(item);
                break;
            case "function_call":
                AddCall(item);
                break;
            case "function_call_output":
                AddResult(item);
                break;
            case var type:
                throw new ApiException(
                    400,
                    $"{item.Name("type")} is {type}; it must be message, function_call or function_call_output.",
                    item.Name("type"),
                    "unsupported_parameter"
                );
        }
        item.RefuseUnknown();
    }

    private void AddMessage(RequestFields item)
    {
        if (item.FindText("role") is not { } role || !s_roles.Contains(role))
            throw new ApiException(
                400,
                $"{item.Name("role")} is {item.Find("role")?.GetRawText() ?? "missing"}; it must be one of {string.Join(", ", s_roles)}.",
                item.Name("role"),
                "invalid_value"
            );
        if (item.Find("content") is not { } content)
            throw Missing(item, "content");
        _messages.Add(new(role is "developer" ? "system" : role, MessageFields.ReadContent(content, item.Name("content"))));
    }

    // Calls follow one another and the text before them in one message of the assistant.
    private void AddCall(RequestFields item)
    {
        var id = item.FindText("call_id") ?? throw Missing(item, "call_id");
        var name = item.FindText("name") ?? throw Missing(item, "name");
        var arguments = item.Find("arguments") ?? throw Missing(item, "arguments");
        if (!MessageFields.IsObject(arguments))
            throw RequestFields.Wrong(item.Name("arguments"), arguments, "a JSON object, as text");
        _called[id] = name;
        var call = JsonSerializer.SerializeToElement(
            new
            {
                id,
                type = "function",
                function = new { name, arguments },
            }
        );
        var before = _messages is [.., { Role: ChatMessage.Assistant } last] ? last : null;
        if (before is not null)
            _messages.RemoveAt(_messages.Count - 1);
        JsonElement[] calls =
        [
            .. before?.Further?.TryGetValue("tool_calls", out var earlier) == true
                ? earlier.EnumerateArray()
                : (IEnumerable<JsonElement>)[],
            call,
        ];
        _messages.Add(
            new(ChatMessage.Assistant, before?.Content ?? "")
            {
                Further = new Dictionary<string, JsonElement> { ["tool_calls"] = JsonSerializer.SerializeToElement(calls) },
            }
        );
    }

    private void AddResult(RequestFields item)
    {
        var id = item.FindText("call_id") ?? throw Missing(item, "call_id");
        var output = item.Find("output") ?? throw Missing(item, "output");
        var further = new Dictionary<string, JsonElement> { ["tool_call_id"] = JsonSerializer.SerializeToElement(id) };
        if (_called.TryGetValue(id, out var name))
            further["name"] = JsonSerializer.SerializeToElement(name);
        _messages.Add(new("tool", MessageFields.ReadContent(output, item.Name("output"))) { Further = further });
    }

    private static ApiException Missing(RequestFields item, string name) =>
        new(400, $"{item.Name(name)} is missing.", item.Name(name), "invalid_value");
}
