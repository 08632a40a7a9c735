using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>POST /v1/chat/completions</c>: answers a conversation.</summary>
internal static class ChatCompletions
{
    /// <summary>The most answers to one request.</summary>
    internal const int MostChoices = 128;

    internal static async Task Answer(HttpContext context, ServedModels models, ServerOptions options)
    {
        var request = await RequestBody.Read(context, fields => Read(fields, models, options));
        await AnswerStream.Send(context, request, new ChatFormat(request));
    }

    /// <summary>Reads a request: the only place that knows its fields.</summary>
    internal static GenerationRequest Read(RequestFields fields, ServedModels models, ServerOptions server)
    {
        var model = models.Choose(fields);
        var options = SamplingFields.Read(fields, server, model, "max_completion_tokens", "max_tokens");
        if (fields.FindSwitch("logprobs") == true)
            options = options with { TopLogProbabilities = fields.FindWhole("top_logprobs", 0, SamplingFields.MostLogProbabilities) ?? 0 };
        else if (fields.FindWhole("top_logprobs", 0) > 0)
            throw RequestFields.Wrong("top_logprobs", fields.Find("top_logprobs")!.Value, "left out, unless logprobs is true");
        var form = MessageFields.ReadForm(fields, model);
        HarmlessFields.Accept(fields);
        HarmlessFields.ReadVerbosity(fields);
        var structure = StructureFields.Read(fields);
        var request = new GenerationRequest(model, [], true, options)
        {
            Choices = fields.FindWhole("n", 1, MostChoices) ?? 1,
            IsStream = fields.FindSwitch("stream") ?? false,
            SendsUsage = HarmlessFields.ReadStreamOptions(fields),
        };
        var messages = MessageFields.Read(fields);
        fields.RefuseUnknown();
        return structure.Bind(request, messages, form, "messages").RequireRoom("messages");
    }
}
