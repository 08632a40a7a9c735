using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>POST /v1/responses</c>: a conversation in, a message or calls of functions out, nothing kept.</summary>
internal static class Responses
{
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
                    Tools = fields.Find("tools")?.Clone(),
                    ToolChoice = fields.Find("tool_choice")?.Clone(),
                    IsParallel = fields.FindSwitch("parallel_tool_calls") ?? true,
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
        HarmlessFields.RefuseFunctions(fields);
        fields.Refuse("response_format", HarmlessFields.IsText, "this endpoint takes the form of an answer as text.format.");
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
            "this endpoint tells no log-probabilities. Use /v1/chat/completions."
        );
        fields.Refuse(
            "truncation",
            v => v.ValueKind == JsonValueKind.String && v.ValueEquals("disabled"),
            "nothing is left out. Send what fits the context."
        );
        var (schema, isJson) = ReadText(fields);
        var tools = StructureFields.ReadTools(fields, isFlat: true);
        ReadReasoning(fields);
        var messages = ResponseItems.Read(fields);
        if (fields.FindText("instructions") is { Length: > 0 } instructions)
            messages.Insert(0, new("system", instructions));
        var request = new GenerationRequest(model, [], true, options) { IsStream = fields.FindSwitch("stream") ?? false };
        HarmlessFields.ReadStreamOptions(fields);
        fields.RefuseUnknown();
        return new StructureFields(tools, schema, isJson).Bind(request, messages, form, "input", "text.format").RequireRoom("input");
    }

    private static (JsonElement? Schema, bool IsJson) ReadText(RequestFields fields)
    {
        if (fields.FindFields("text") is not { } text)
            return default;
        var format = text.FindFields("format");
        format?.Accept("name", "description", "strict", "schema");
        var read = format is null ? default : StructureFields.ReadFormat(format, format);
        HarmlessFields.ReadVerbosity(text);
        text.RefuseUnknown();
        return read;
    }

    private static void ReadReasoning(RequestFields fields)
    {
        if (fields.FindFields("reasoning") is not { } reasoning)
            return;
        reasoning.Refuse(
            "effort",
            _ => false,
            "this endpoint passes it to no template. Use chat_template_kwargs, with the template's name for it."
        );
        reasoning.Refuse("summary", _ => false, "reasoning is not summarized.");
        reasoning.RefuseUnknown();
    }
}
