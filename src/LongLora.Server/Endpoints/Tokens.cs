using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Tokenization;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary>
/// <c>POST /tokenize</c> and <c>/detokenize</c>, as vLLM has them, and <c>/tokens</c>, with which the page counts a conversation.
/// </summary>
internal static class Tokens
{
    internal static Task<IResult> Tokenize(HttpContext context, ServedModels models) =>
        RequestBody.Read(context, fields => Tokenize(fields, models));

    internal static Task<IResult> Detokenize(HttpContext context, ServedModels models) =>
        RequestBody.Read(context, fields => Detokenize(fields, models));

    internal static Task<IResult> Count(HttpContext context, ServedModels models) =>
        RequestBody.Read(context, fields => Count(fields, models));

    /// <summary>The token ids of a text or a conversation.</summary>
    internal static IResult Tokenize(RequestFields fields, ServedModels models)
    {
        var model = models.Choose(fields);
        var texts = fields.FindSwitch("return_token_strs") ?? false;
        IReadOnlyList<int> ids;
        if (fields.FindText("prompt") is { } prompt)
        {
            if (fields.Find("messages") is not null)
                throw new ApiException(400, "There are both prompt and messages; give one of them.", "prompt", "invalid_value");
            ids = PromptText.Encode(model.Tokenizer, prompt, addSpecial: fields.FindSwitch("add_special_tokens") ?? true);
        }
        else if (fields.Find("messages") is not null)
        {
            // The template writes the special tokens itself.
            fields.Refuse("add_special_tokens", v => v.ValueKind == System.Text.Json.JsonValueKind.False, "the chat template writes them.");
            ids = EncodeConversation(fields, model);
        }
        else
        {
            throw new ApiException(400, "prompt and messages are missing; give one of them.", "prompt", "invalid_value");
        }
        fields.RefuseUnknown();
        return Results.Json(
            new
            {
                count = ids.Count,
                max_model_len = Models.FindContext(model),
                tokens = ids,
                token_strs = texts ? ids.Select(id => TokenText.Write(model.Tokenizer, id)) : null,
            },
            EndpointFormat.Json
        );
    }

    /// <summary>The text of token ids, including special tokens.</summary>
    internal static IResult Detokenize(RequestFields fields, ServedModels models)
    {
        var model = models.Choose(fields);
        if (SamplingFields.ReadIds(fields, "tokens", model) is not { } ids)
            throw new ApiException(400, "tokens is missing; give an array of token ids.", "tokens", "invalid_value");
        fields.RefuseUnknown();
        return Results.Json(new { prompt = model.Tokenizer.Decode([.. ids], skipSpecial: false) }, EndpointFormat.Json);
    }

    /// <summary>How much of the context a conversation takes.</summary>
    internal static IResult Count(RequestFields fields, ServedModels models)
    {
        var model = models.Choose(fields);
        var ids = EncodeConversation(fields, model);
        fields.RefuseUnknown();
        return Results.Json(new { tokens = ids.Count, context = Models.FindContext(model) }, EndpointFormat.Json);
    }

    private static IReadOnlyList<int> EncodeConversation(RequestFields fields, ChatModel model)
    {
        var (messages, form) = (MessageFields.Read(fields), MessageFields.ReadForm(fields, model));
        try
        {
            return model.Encode(messages, form, StructureFields.ReadTools(fields, isFlat: false));
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, form.ContinueFinalMessage ? "continue_final_message" : "messages");
        }
    }
}
