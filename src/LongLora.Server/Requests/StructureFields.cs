using System.Text.Json;
using LongLora.Generation.Structured;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>The fields that say what an answer must look like.</summary>
/// <param name="Tools">Functions that it may or must call; null for none.</param>
/// <param name="Schema">JSON schema of an answer that calls nothing; null for none.</param>
/// <param name="IsJson">Whether such an answer is a JSON object, whatever is in it.</param>
internal sealed record StructureFields(ToolUse? Tools, JsonElement? Schema, bool IsJson)
{
    private const string Format = "response_format";

    /// <summary>Reads the fields of <c>/v1/chat/completions</c>.</summary>
    internal static StructureFields Read(RequestFields fields)
    {
        HarmlessFields.RefuseFunctions(fields);
        var (schema, isJson) = fields.FindFields(Format) is { } format ? ReadFormat(format, format.FindFields("json_schema")) : default;
        return new(ReadTools(fields, isFlat: false), schema, isJson);
    }

    /// <summary>Reads a format.</summary>
    /// <param name="format">Has its type.</param>
    /// <param name="described">Has its schema.</param>
    internal static (JsonElement? Schema, bool IsJson) ReadFormat(RequestFields format, RequestFields? described)
    {
        JsonElement? schema = null;
        switch (format.FindText("type"))
        {
            case "text":
            case "json_object":
                break;
            case "json_schema":
                described?.Accept("name", "description", "strict");
                schema = described?.Find("schema")?.Clone();
                if (schema is null)
                    throw new ApiException(
                        400,
                        $"{format.Name("json_schema")} has no schema; give the JSON schema of the answer.",
                        format.Name("json_schema"),
                        "invalid_value"
                    );
                break;
            default:
                throw new ApiException(
                    400,
                    $"{format.Name("type")} is {format.Find("type")?.GetRawText() ?? "missing"}; it must be text, "
                        + "json_object or json_schema.",
                    format.Name("type"),
                    "invalid_value"
                );
        }
        described?.RefuseUnknown();
        format.RefuseUnknown();
        return (schema, format.FindText("type") == "json_object");
    }

    /// <summary>The conversation with what binds its answer.</summary>
    /// <param name="request">The request.</param>
    /// <param name="messages">The conversation.</param>
    /// <param name="form">How it is written.</param>
    /// <param name="input">Name of the field with the messages.</param>
    /// <param name="format">Name of the field with the format.</param>
    internal GenerationRequest Bind(
        GenerationRequest request,
        IReadOnlyList<ChatMessage> messages,
        ConversationForm form,
        string input,
        string format = Format
    )
    {
        var isBound = Tools is not null || Schema is not null || IsJson;
        if (isBound && form.ContinueFinalMessage)
            throw new ApiException(
                400,
                $"Cannot continue a message with tools or a {format}, because these hold for whole answers. Leave one of them out.",
                "continue_final_message",
                "unsupported_parameter"
            );
        try
        {
            _ = request.Model.RequireTemplate();
            var chat = request.Model.Structured.Prepare(messages, form, Tools, Schema, IsJson, request.Model.MostRead);
            return request with { Prompts = [chat.Tokens], Chat = chat, Options = request.Options with { Format = chat.Format } };
        }
        catch (TextTooLongException e)
        {
            throw GenerationRequest.RefuseLength(request.Model, input, e);
        }
        catch (ConfigurationException e) when (isBound && request.Model.HasTemplate)
        {
            var isSchema = Tools is null || e.Message.StartsWith("Cannot follow the JSON schema because", StringComparison.Ordinal);
            throw new ApiException(400, e.Message, isSchema ? format : "tools", "invalid_value");
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, form.ContinueFinalMessage ? "continue_final_message" : input);
        }
    }

    /// <summary>Reads the tools and how they are chosen.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="isFlat">Whether a function is not an object inside its tool, as in <c>/v1/responses</c>.</param>
    internal static ToolUse? ReadTools(RequestFields fields, bool isFlat)
    {
        var isParallel = fields.FindSwitch("parallel_tool_calls") ?? true;
        var choice = fields.Find("tool_choice");
        IReadOnlyList<ToolDefinition> tools;
        try
        {
            tools = fields.Find("tools") is { } list ? ToolDefinition.ReadAll(isFlat ? Nest(list) : list.Clone()) : [];
        }
        catch (ConfigurationException e)
        {
            throw new ApiException(400, e.Message, "tools", "invalid_value");
        }
        var (isRequired, only) = choice is { } value ? ReadChoice(value, isFlat) : (false, null);
        if (isRequired && tools.Count == 0)
            throw new ApiException(400, "tool_choice requires a call and there are no tools. Add some.", "tool_choice", "invalid_value");
        if (only is not null && !tools.Any(t => t.Name == only))
            throw new ApiException(
                400,
                $"tool_choice names the function '{only}', which is not among the tools: {string.Join(", ", tools.Select(t => t.Name))}.",
                "tool_choice",
                "invalid_value"
            );
        var isNone = choice is { ValueKind: JsonValueKind.String } word && word.ValueEquals("none");
        return tools.Count == 0 || isNone ? null : new ToolUse(tools, isRequired, isParallel) { Only = only };
    }

    // Tools of /v1/responses in the form of /v1/chat/completions, which templates take.
    private static JsonElement Nest(JsonElement tools)
    {
        if (tools.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong("tools", tools, "an array of functions");
        var nested = new List<object>();
        foreach (var (i, item) in tools.EnumerateArray().Index())
        {
            var tool = new RequestFields(item, $"tools[{i}]");
            if (tool.FindText("type") is not "function")
                throw new ApiException(
                    400,
                    $"{tool.Name("type")} is {tool.Find("type")?.GetRawText() ?? "missing"}; it must be function, because a model that "
                        + "runs here can call nothing else.",
                    tool.Name("type"),
                    "unsupported_parameter"
                );
            _ = tool.FindText("name")
                ?? throw new ApiException(400, $"{tool.Name("name")} is missing.", tool.Name("name"), "invalid_value");
            var function = new Dictionary<string, JsonElement>();
            foreach (var name in (string[])["name", "description", "parameters", "strict"])
            {
                if (tool.Find(name) is { } value)
                    function[name] = value;
            }
            tool.RefuseUnknown();
            nested.Add(new { type = "function", function });
        }
        return JsonSerializer.SerializeToElement(nested);
    }

    private static (bool IsRequired, string? Only) ReadChoice(JsonElement choice, bool isFlat)
    {
        if (choice.ValueKind == JsonValueKind.String && choice.GetString() is "none" or "auto")
            return (false, null);
        if (choice.ValueKind == JsonValueKind.String && choice.ValueEquals("required"))
            return (true, null);
        if (
            choice.ValueKind == JsonValueKind.Object
            && choice.TryGetProperty("type", out var type)
            && type.ValueKind == JsonValueKind.String
            && type.ValueEquals("function")
            && (
                isFlat ? choice
                : choice.TryGetProperty("function", out var inner) ? inner
                : default
            )
                is { ValueKind: JsonValueKind.Object } function
            && function.TryGetProperty("name", out var name)
            && name.ValueKind == JsonValueKind.String
        )
            return (true, name.GetString());
        throw RequestFields.Wrong(
            "tool_choice",
            choice,
            isFlat
                ? "none, auto, required, or {\"type\": \"function\", \"name\": ...}"
                : "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": ...}}"
        );
    }
}
