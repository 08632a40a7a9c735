using System.Runtime.InteropServices;
using LongLora.Generation;
using LongLora.Tokenization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace LongLora.Server;

/// <summary>
/// <c>POST /v1/embeddings</c>: the mean over its tokens of a text's hidden states after the final norm. The model was not trained for it.
/// </summary>
internal static class Embeddings
{
    private const int MostTexts = 2048;

    internal static async Task<IResult> Answer(HttpContext context, ServedModels models)
    {
        var (model, inputs, isBase64) = await RequestBody.Read(context, fields => Read(fields, models));
        using var place = context.RequestServices.GetRequiredService<AnswerMeter>().Enter();
        var vectors = new List<float[]>();
        foreach (var input in inputs)
        {
            vectors.Add(await model.EmbedTokensAsync(input, context.RequestAborted));
            place.CountRead(input.Count);
        }
        var tokens = inputs.Sum(i => i.Count);
        return Results.Json(
            new
            {
                @object = "list",
                data = vectors.Select(
                    (vector, index) =>
                        new
                        {
                            @object = "embedding",
                            index,
                            embedding = isBase64 ? (object)Convert.ToBase64String(MemoryMarshal.AsBytes<float>(vector)) : vector,
                        }
                ),
                model = model.Name,
                usage = new { prompt_tokens = tokens, total_tokens = tokens },
            },
            EndpointFormat.Json
        );
    }

    /// <summary>Reads a request: the only place that knows its fields.</summary>
    internal static (ChatModel Model, IReadOnlyList<IReadOnlyList<int>> Inputs, bool IsBase64) Read(
        RequestFields fields,
        ServedModels models
    )
    {
        var model = models.Choose(fields);
        var encoding = fields.FindText("encoding_format") ?? "float";
        if (encoding is not ("float" or "base64"))
            throw RequestFields.Wrong("encoding_format", fields.Find("encoding_format")!.Value, "float or base64");
        if (fields.FindWhole("dimensions", 1) is { } dimensions && dimensions != model.EmbeddingSize)
            throw RequestFields.Wrong("dimensions", fields.Find("dimensions")!.Value, $"{model.EmbeddingSize}, or be left out");
        fields.Accept("user");
        var inputs = TextInput.Read(fields, "input", model, MostTexts, Encode);
        fields.RefuseUnknown();
        foreach (var (name, _, tokens) in inputs)
        {
            if (tokens.Count == 0 || tokens.Count > model.Context)
                throw RefuseLength(model, name, $"{tokens.Count:N0}", tokens.Count == 0);
        }
        return (model, [.. inputs.Select(i => i.Tokens)], encoding == "base64");

        // A text to embed is what somebody wrote: special tokens in it are letters.
        IReadOnlyList<int> Encode(string name, string text)
        {
            try
            {
                return model.EncodeText(text);
            }
            catch (TextTooLongException e)
            {
                throw RefuseLength(model, name, $"at least {e.AtLeast:N0}", isEmpty: false);
            }
        }
    }

    private static ApiException RefuseLength(ChatModel model, string name, string count, bool isEmpty) =>
        new(
            400,
            $"{name} has {count} tokens; it must have from 1 to {model.Context:N0}.",
            name,
            isEmpty ? "invalid_value" : "context_length_exceeded"
        );
}
