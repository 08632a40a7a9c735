using System.Text.Json;
using LongLora.Tokenization;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>POST /v1/responses</c> in its plain form: text in, one message of text out, nothing kept.</summary>
internal static class Responses
{
    private static readonly string[] s_roles = ["system", "developer", "user", "assistant"];

    internal static async Task Answer(HttpContext context, ServedModels models, ServerOptions options)
    {
        var (request, format) = await RequestBody.Read(context, fields =>
        {
            var request = Read(fields, models, options);
            return (
                request,
                new ResponseFormat(request, fields.FindText("instructions"), fields.Find("metadata")?.Clone())
                {
                    TextFormat = fields.FindFields("text")?.Find("format")?.Clone(),
                }
            );
        });
        await AnswerStream.Send(context, request, format);
    }

    /// <summary>Reads a request: the only place that knows its fields.</summary>
    internal static GenerationRequest Read(RequestFields fields, ServedModels models, ServerOptions server)
    {
        var model = models.Choose(fields);
        var options = SamplingFields.Read(fields, server, model, "max_output_tokens");
        var form = MessageFields.ReadForm(fields, model);
        HarmlessFields.Accept(fields);
        HarmlessFields.RefuseStructure(fields);
        const string keepsNothing = "this server keeps no answers. Send the whole conversation as input.";
        foreach (var name in (string[])["previous_response_id", "conversation"])
            fields.Refuse(name, _ => false, keepsNothing);
        fields.Refuse("background", v => v.ValueKind == JsonValueKind.False, keepsNothing);
        fields.Refuse("prompt", _ => false, "this server has no stored prompts. Send the text as input.");
        fields.Refuse(
            "include",
            v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0,
            "answers have nothing else to include."
        );
        fields.Refuse(
            "top_logprobs",
            v => v.ValueKind == JsonValueKind.Number && v.GetDouble() == 0,
            "use /v1/chat/completions for these."
        );
        fields.Refuse(
            "truncation",
            v => v.ValueKind == JsonValueKind.String && v.ValueEquals("disabled"),
            "nothing is left out. Send what fits the context."
        );
        var (schema, isJson) = ReadText(fields);
        ReadReasoning(fields);
        var messages = ReadInput(fields);
        if (fields.FindText("instructions") is { Length: > 0 } instructions)
            messages.Insert(0, new("system", instructions));
        var request = new GenerationRequest(model, [], true, options) { IsStream = fields.FindSwitch("stream") ?? false };
        HarmlessFields.ReadStreamOptions(fields);
        fields.RefuseUnknown();
        return new StructureFields(null, schema, isJson).Bind(request, messages, form, "input", "text.format").RequireRoom("input");
    }

    private static (JsonElement? Schema, bool IsJson) ReadText(RequestFields fields)
    {
        if (fields.FindFields("text") is not { } text)
            return default;
        var format = text.FindFields("format");
        format?.Accept("name", "description", "strict", "schema");
        var read = format is null ? default : StructureFields.ReadFormat(format, format);
        text.Refuse("verbosity", v => v.ValueKind == JsonValueKind.String && v.ValueEquals("medium"), "the model has no such setting.");
        text.RefuseUnknown();
        return read;
    }

    private static void ReadReasoning(RequestFields fields)
    {
        if (fields.FindFields("reasoning") is not { } reasoning)
            return;
        reasoning.Refuse("effort", _ => false, "use chat_template_kwargs, with the name that the template has for it.");
        reasoning.Refuse("summary", _ => false, "reasoning is not summarized.");
        reasoning.RefuseUnknown();
    }

    // A text, or items of which each is a message.
    private static List<ChatMessage> ReadInput(RequestFields fields)
    {
        if (fields.Find("input") is not { } input)
            throw new ApiException(400, "input is missing; give a text, or an array of messages.", "input", "invalid_value");
        if (input.ValueKind == JsonValueKind.String)
            return [new("user", input.GetString()!)];
        if (input.ValueKind != JsonValueKind.Array || input.GetArrayLength() == 0)
            throw RequestFields.Wrong("input", input, "a text, or an array of messages");
        return [.. input.EnumerateArray().Select((item, i) => ReadItem(new RequestFields(item, $"input[{i}]")))];
    }

    private static ChatMessage ReadItem(RequestFields item)
    {
        item.Refuse("type", v => v.ValueKind == JsonValueKind.String && v.ValueEquals("message"), "input is made of messages only.");
        item.Accept("id", "status");
        if (item.FindText("role") is not { } role || !s_roles.Contains(role))
            throw new ApiException(
                400,
                $"{item.Name("role")} is {item.Find("role")?.GetRawText() ?? "missing"}; it must be one of {string.Join(", ", s_roles)}.",
                item.Name("role"),
                "invalid_value"
            );
        if (item.Find("content") is not { } content)
            throw new ApiException(400, $"{item.Name("content")} is missing.", item.Name("content"), "invalid_value");
        item.RefuseUnknown();
        return new(role is "developer" ? "system" : role, MessageFields.ReadContent(content, item.Name("content")));
    }
}
