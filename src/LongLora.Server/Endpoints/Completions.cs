using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>POST /v1/completions</c>: continues one or more prompts.</summary>
internal static class Completions
{
    private const int MostPrompts = 128;

    internal static async Task Answer(HttpContext context, ServedModels models, ServerOptions options)
    {
        var (request, echo) = await RequestBody.Read(context, fields => Read(fields, models, options));
        await AnswerStream.Send(context, request, new CompletionFormat(request, echo));
    }

    /// <summary>
    /// Reads a request: the only place that knows its fields. The second result are the texts that begin the answers, if any.
    /// </summary>
    internal static (GenerationRequest Request, IReadOnlyList<string>? Echo) Read(
        RequestFields fields,
        ServedModels models,
        ServerOptions server
    )
    {
        var model = models.Choose(fields);
        var options = SamplingFields.Read(fields, server, model, "max_tokens");
        var echoes = fields.FindSwitch("echo") ?? false;
        if (fields.FindWhole("logprobs", 0, SamplingFields.MostLogProbabilities) is { } count)
        {
            if (echoes)
                throw new ApiException(
                    400,
                    "Cannot give logprobs with echo because those of the prompt are not computed. Leave one of them out.",
                    "echo",
                    "unsupported_parameter"
                );
            options = options with { TopLogProbabilities = count };
        }
        var choices = fields.FindWhole("n", 1, ChatCompletions.MostChoices) ?? 1;
        if (fields.FindWhole("best_of", 1, ChatCompletions.MostChoices) is { } best && best != choices)
            throw new ApiException(
                400,
                $"best_of is {best}; it must be n ({choices}), because every answer is sent. Leave it out.",
                "best_of",
                "unsupported_parameter"
            );
        fields.Refuse(
            "suffix",
            v => v.ValueKind == JsonValueKind.String && v.GetString()!.Length == 0,
            "a text is only continued at its end. Leave it out."
        );
        HarmlessFields.Accept(fields);
        HarmlessFields.RefuseStructure(fields);
        var request = new GenerationRequest(model, [], false, options)
        {
            Choices = choices,
            IsStream = fields.FindSwitch("stream") ?? false,
            SendsUsage = HarmlessFields.ReadStreamOptions(fields),
        };
        var inputs = TextInput.Read(fields, "prompt", model, MostPrompts);
        fields.RefuseUnknown();
        request = request with { Prompts = [.. inputs.Select(i => i.Tokens)] };
        return (request.RequireRoom("prompt"), echoes ? [.. inputs.Select(i => i.ReadText(model))] : null);
    }
}
