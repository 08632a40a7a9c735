using System.Text.Json;
using LongLora.Tokenization;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>POST /v1/completions</c>: continues one or more prompts.</summary>
internal static class Completions
{
    private const int MostPrompts = 128;

    internal static async Task Answer(HttpContext context, ServedModels models, ServerOptions options)
    {
        var (request, echo, isPromptOnly) = await RequestBody.Read(context, fields => Read(fields, models, options));
        await AnswerStream.Send(context, request, new CompletionFormat(request, echo) { IsPromptOnly = isPromptOnly });
    }

    /// <summary>
    /// Reads a request: the only place that knows its fields. The second result are the texts that begin the answers, if any, and the third
    /// is whether there is nothing after them.
    /// </summary>
    internal static (GenerationRequest Request, IReadOnlyList<string>? Echo, bool IsPromptOnly) Read(
        RequestFields fields,
        ServedModels models,
        ServerOptions server
    )
    {
        var model = models.Choose(fields);
        var echoes = fields.FindSwitch("echo") ?? false;
        // Evaluations ask for the log-probabilities of a text alone.
        var isPromptOnly = echoes && fields.Find("max_tokens") is { ValueKind: JsonValueKind.Number } most && most.GetDouble() == 0;
        var options = SamplingFields.Read(fields, server, model, isPromptOnly ? [] : ["max_tokens"]);
        if (isPromptOnly)
            options = options with { MaxTokens = 1, MinTokens = 0 };
        if (fields.FindWhole("logprobs", 0, SamplingFields.MostLogProbabilities) is { } count)
            options = options with { TopLogProbabilities = count, MeasuresPrompt = echoes };
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
        var addsSpecial = fields.FindSwitch("add_special_tokens") ?? true;
        var inputs = TextInput.Read(fields, "prompt", model, MostPrompts, Encode);
        fields.RefuseUnknown();
        foreach (var input in inputs)
            GenerationRequest.RequireRoom(model, input.Name, input.Tokens, isPromptOnly && options.MeasuresPrompt);
        request = request with { Prompts = [.. inputs.Select(i => i.Tokens)] };
        return (request, echoes ? [.. inputs.Select(i => i.ReadText(model))] : null, isPromptOnly);

        IReadOnlyList<int> Encode(string name, string text)
        {
            try
            {
                return model.EncodePrompt(text, addSpecial: addsSpecial);
            }
            catch (TextTooLongException e)
            {
                throw GenerationRequest.RefuseLength(model, name, e);
            }
        }
    }
}
