using System.Text;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>The messages of a request, and how the chat template writes them.</summary>
internal static class MessageFields
{
    private static readonly string[] s_roles = ["system", "developer", "user", "assistant", "tool"];
    private static readonly string[] s_further = ["name", "reasoning_content", "reasoning"]; // which templates may write

    /// <summary>Reads <c>messages</c>.</summary>
    internal static List<ChatMessage> Read(RequestFields fields)
    {
        if (fields.Find("messages") is not { ValueKind: JsonValueKind.Array } messages || messages.GetArrayLength() == 0)
            throw new ApiException(
                400,
                "messages is missing or empty; give the conversation as an array of objects with role and content.",
                "messages",
                "invalid_value"
            );
        // Results have the identifier of their call alone; templates write its name.
        var called = new Dictionary<string, string>(StringComparer.Ordinal);
        return [.. messages.EnumerateArray().Select((message, i) => ReadMessage(new RequestFields(message, $"messages[{i}]"), called))];
    }

    /// <summary>Reads the fields that say how the conversation is written.</summary>
    internal static ConversationForm ReadForm(RequestFields fields, ChatModel model)
    {
        var continues = fields.FindSwitch("continue_final_message") ?? false;
        var prompts = fields.FindSwitch("add_generation_prompt");
        if (continues && prompts == true)
            throw new ApiException(
                400,
                "continue_final_message and add_generation_prompt are both true; one of them must be false.",
                "continue_final_message",
                "invalid_value"
            );
        var variables = new Dictionary<string, JsonElement>(fields.FindMembers("chat_template_kwargs"));
        foreach (var name in variables.Keys)
            RequireVariable(model, name, $"chat_template_kwargs.{name}");
        if (fields.Find("reasoning_effort") is { } effort)
        {
            RequireVariable(model, "reasoning_effort", "reasoning_effort");
            variables["reasoning_effort"] = effort;
        }
        return new ConversationForm
        {
            AddGenerationPrompt = prompts ?? true,
            ContinueFinalMessage = continues,
            Variables = variables,
        };
    }

    private static void RequireVariable(ChatModel model, string name, string field)
    {
        var template = model.RequireTemplate();
        if (!template.Variables.Contains(name))
            throw new ApiException(
                400,
                $"Cannot do what {field} says because the chat template of '{model.Name}' has no such variable. "
                    + $"{template.DescribeVariables()} Leave it out.",
                field,
                "unsupported_parameter"
            );
    }

    private static ChatMessage ReadMessage(RequestFields message, Dictionary<string, string> called)
    {
        if (message.Find("role") is not { ValueKind: JsonValueKind.String } role || !s_roles.Contains(role.GetString()))
        {
            throw new ApiException(
                400,
                $"{message.Name("role")} is {message.Find("role")?.GetRawText() ?? "missing"}; it must be one of "
                    + $"{string.Join(", ", s_roles)}.",
                message.Name("role"),
                "invalid_value"
            );
        }
        var calls = role.ValueEquals(ChatMessage.Assistant) ? ReadCalls(message, called) : null;
        // A refusal is what the assistant said instead.
        var content = message.Find("content") ?? (role.ValueEquals(ChatMessage.Assistant) ? message.Find("refusal") : null);
        if (content is null && calls is null)
            throw new ApiException(400, $"{message.Name("content")} is missing.", message.Name("content"), "invalid_value");
        var further = s_further.Where(name => message.Find(name) is not null).ToDictionary(name => name, name => message.Find(name)!.Value);
        // What answers have that are sent back.
        if (calls is { } list)
            further["tool_calls"] = list;
        if (role.ValueEquals("tool"))
            ReadResult(message, called, further);
        foreach (var name in (string[])["refusal", "annotations", "audio", "function_call", "tool_calls"])
            message.Refuse(
                name,
                v =>
                    (name == "tool_calls" && calls is not null)
                    || (name == "refusal" && message.Find("content") is null && content is not null)
                    || (v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0),
                "messages are text only, and calls are those of the assistant."
            );
        message.RefuseUnknown();
        return new(
            role.GetString() is "developer" ? "system" : role.GetString()!,
            content is { } given ? ReadContent(given, message.Name("content")) : ""
        )
        {
            Further = further.Count > 0 ? further : null,
        };
    }

    private static JsonElement? ReadCalls(RequestFields message, Dictionary<string, string> called)
    {
        if (message.Find("tool_calls") is not { } calls || (calls.ValueKind == JsonValueKind.Array && calls.GetArrayLength() == 0))
            return null;
        if (calls.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong(message.Name("tool_calls"), calls, "an array of calls");
        foreach (var (i, item) in calls.EnumerateArray().Index())
        {
            var call = new RequestFields(item, message.Name($"tool_calls[{i}]"));
            call.Accept("index", "type");
            var function = call.FindFields("function")
                ?? throw new ApiException(400, $"{call.Name("function")} is missing.", call.Name("function"), "invalid_value");
            var name = function.FindText("name")
                ?? throw new ApiException(400, $"{function.Name("name")} is missing.", function.Name("name"), "invalid_value");
            if (function.Find("arguments") is { } arguments && !IsObject(arguments))
                throw RequestFields.Wrong(function.Name("arguments"), arguments, "a JSON object, as text");
            if (call.FindText("id") is { } id)
                called[id] = name;
            function.RefuseUnknown();
            call.RefuseUnknown();
        }
        return calls;
    }

    /// <summary>Whether arguments are a JSON object, the text of one, or an empty text, which stands for none.</summary>
    internal static bool IsObject(JsonElement arguments)
    {
        if (arguments.ValueKind == JsonValueKind.Object)
            return true;
        if (arguments.ValueKind != JsonValueKind.String)
            return false;
        if (string.IsNullOrWhiteSpace(arguments.GetString()))
            return true;
        try
        {
            return JsonElement.Parse(arguments.GetString()!).ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static void ReadResult(RequestFields message, Dictionary<string, string> called, Dictionary<string, JsonElement> further)
    {
        if (message.FindText("tool_call_id") is not { } id)
            throw new ApiException(
                400,
                $"{message.Name("tool_call_id")} is missing; give the id of the call.",
                message.Name("tool_call_id"),
                "invalid_value"
            );
        further["tool_call_id"] = JsonSerializer.SerializeToElement(id);
        if (called.TryGetValue(id, out var name))
            further.TryAdd("name", JsonSerializer.SerializeToElement(name));
    }

    /// <summary>A text, or parts of which each is a text.</summary>
    internal static string ReadContent(JsonElement content, string name)
    {
        if (content.ValueKind == JsonValueKind.String)
            return content.GetString()!;
        if (content.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong(name, content, "a text, or an array of parts of type text");
        var text = new StringBuilder();
        foreach (var part in content.EnumerateArray())
        {
            if (
                part.ValueKind != JsonValueKind.Object
                || !part.TryGetProperty("type", out var type)
                || type.ValueKind != JsonValueKind.String
                || type.GetString() is not ("text" or "input_text" or "output_text")
                || !part.TryGetProperty("text", out var value)
                || value.ValueKind != JsonValueKind.String
            )
                throw RequestFields.Wrong(name, part, "parts of type text; this model reads nothing else");
            text.Append(value.GetString());
        }
        return text.ToString();
    }
}
