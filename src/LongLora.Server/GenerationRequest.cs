using System.Text;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>What a client asked to be generated, checked.</summary>
/// <param name="Prompt">Token ids.</param>
/// <param name="IsChat">Whether it is a conversation, whose answer ends where the template says.</param>
/// <param name="Options">How.</param>
/// <param name="IsStream">Whether the answer is sent piece by piece.</param>
/// <param name="SendsUsage">Whether a stream ends with the numbers of tokens.</param>
internal sealed record GenerationRequest(IReadOnlyList<int> Prompt, bool IsChat, GenerationOptions Options, bool IsStream, bool SendsUsage)
{
    private const int MostStops = 16,
        MostLogProbabilities = 20;
    private static readonly string[] s_roles = ["system", "developer", "user", "assistant"];

    /// <summary>The answer of a model.</summary>
    internal IAsyncEnumerable<AnswerPiece> AnswerAsync(ChatModel model) =>
        IsChat ? model.AnswerTokensAsync(Prompt, Options) : model.CompleteTokensAsync(Prompt, Options);

    /// <summary>Reads a request for <c>/v1/chat/completions</c>.</summary>
    internal static GenerationRequest Chat(JsonElement body, ChatModel model, ServerOptions server)
    {
        var fields = new RequestFields(body);
        fields.Refuse(
            "tools",
            v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0,
            "the model is not asked to call functions."
        );
        fields.Refuse(
            "functions",
            v => v.ValueKind == JsonValueKind.Array && v.GetArrayLength() == 0,
            "the model is not asked to call functions."
        );
        fields.Refuse(
            "response_format",
            v => v.ValueKind == JsonValueKind.Object && v.TryGetProperty("type", out var type) && type.ValueEquals("text"),
            "answers are text."
        );
        var options = ReadOptions(fields, server, fields.Whole("max_completion_tokens", 1));
        if (fields.Switch("logprobs"))
            options = options with { TopLogProbabilities = fields.Whole("top_logprobs", 0, MostLogProbabilities) ?? 0 };
        else if (fields.Find("top_logprobs") is { } top)
            throw RequestFields.Wrong("top_logprobs", top, "left out, unless logprobs is true");
        var messages = Messages(fields);
        try
        {
            return Finish(model.Encode(messages), isChat: true, options, fields, model, server);
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, "messages");
        }
    }

    /// <summary>Reads a request for <c>/v1/completions</c>.</summary>
    internal static GenerationRequest Completion(JsonElement body, ChatModel model, ServerOptions server)
    {
        var fields = new RequestFields(body);
        fields.Refuse("echo", v => v.ValueKind == JsonValueKind.False, "the prompt is not sent back.");
        fields.Refuse("suffix", v => v.ValueKind == JsonValueKind.String && v.GetString()!.Length == 0, "text only goes on at its end.");
        fields.Refuse("best_of", v => v.ValueKind == JsonValueKind.Number && v.GetRawText() == "1", "one answer is made.");
        var options = ReadOptions(fields, server, null);
        if (fields.Whole("logprobs", 0, MostLogProbabilities) is { } count)
            options = options with { TopLogProbabilities = count };
        return Finish(ReadPrompt(fields, model), isChat: false, options, fields, model, server);
    }

    /// <summary>The messages of a request.</summary>
    internal static List<ChatMessage> Messages(RequestFields fields)
    {
        if (fields.Find("messages") is not { ValueKind: JsonValueKind.Array } messages || messages.GetArrayLength() == 0)
            throw new ApiException(
                400,
                "messages is missing or empty; give the conversation as an array of objects with role and content.",
                "messages",
                "invalid_value"
            );
        return [.. messages.EnumerateArray().Select(Message)];
    }

    private static ChatMessage Message(JsonElement message, int number)
    {
        var name = $"messages[{number}]";
        if (message.ValueKind != JsonValueKind.Object)
            throw RequestFields.Wrong(name, message, "an object with role and content");
        if (!message.TryGetProperty("role", out var role) || role.ValueKind != JsonValueKind.String || !s_roles.Contains(role.GetString()))
        {
            throw new ApiException(
                400,
                $"{name}.role is {(role.ValueKind == JsonValueKind.Undefined ? "missing" : role.GetRawText())}; it must be one of "
                    + $"{string.Join(", ", s_roles)}.",
                name + ".role",
                "invalid_value"
            );
        }
        if (!message.TryGetProperty("content", out var content))
            throw new ApiException(400, $"{name}.content is missing.", name + ".content", "invalid_value");
        return new(role.GetString() is "developer" ? "system" : role.GetString()!, Content(content, name + ".content"));
    }

    // A text, or parts of which each is a text.
    private static string Content(JsonElement content, string name)
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
                || !type.ValueEquals("text")
                || !part.TryGetProperty("text", out var value)
                || value.ValueKind != JsonValueKind.String
            )
                throw RequestFields.Wrong(name, part, "parts of type text; this model reads nothing else");
            text.Append(value.GetString());
        }
        return text.ToString();
    }

    private static IReadOnlyList<int> ReadPrompt(RequestFields fields, ChatModel model)
    {
        if (fields.Find("prompt") is not { } prompt)
            throw new ApiException(400, "prompt is missing.", "prompt", "invalid_value");
        if (
            prompt.ValueKind == JsonValueKind.Array
            && prompt.GetArrayLength() == 1
            && prompt[0].ValueKind is JsonValueKind.String or JsonValueKind.Array
        )
            prompt = prompt[0];
        if (prompt.ValueKind == JsonValueKind.String)
            return model.Tokenizer.Encode(prompt.GetString()!, addSpecial: true);
        var ids = new List<int>();
        foreach (var id in prompt.ValueKind == JsonValueKind.Array ? prompt.EnumerateArray() : default)
        {
            if (
                id.ValueKind != JsonValueKind.Number
                || !id.TryGetInt32(out var number)
                || number < 0
                || number >= model.Tokenizer.VocabularySize
            )
                throw RequestFields.Wrong("prompt", id, $"token ids from 0 to {model.Tokenizer.VocabularySize - 1}");
            ids.Add(number);
        }
        return ids.Count > 0 ? ids : throw RequestFields.Wrong("prompt", prompt, "one text, or one array of token ids");
    }

    private static GenerationOptions ReadOptions(RequestFields fields, ServerOptions server, int? maxTokens)
    {
        fields.Refuse("n", v => v.ValueKind == JsonValueKind.Number && v.GetRawText() == "1", "one answer is made; ask again for another.");
        foreach (var name in (string[])["presence_penalty", "frequency_penalty"])
            fields.Refuse(name, v => v.ValueKind == JsonValueKind.Number && v.GetDouble() == 0, "use repetition_penalty.");
        fields.Refuse(
            "logit_bias",
            v => v.ValueKind == JsonValueKind.Object && !v.EnumerateObject().Any(),
            "tokens are not weighted by hand."
        );
        var standard = server.Defaults;
        maxTokens ??= fields.Whole("max_tokens", 1);
        if (maxTokens > server.MaxTokens)
            throw new ApiException(
                400,
                $"{maxTokens:N0} tokens are asked for; this server gives at most {server.MaxTokens:N0}.",
                "max_tokens",
                "invalid_value"
            );
        return standard with
        {
            MaxTokens = maxTokens ?? Math.Min(standard.MaxTokens, server.MaxTokens ?? int.MaxValue),
            Temperature = fields.Real("temperature", 0, 2) ?? standard.Temperature,
            TopP = fields.Real("top_p", 1e-6, 1) ?? standard.TopP,
            TopK = fields.Whole("top_k", 0) ?? standard.TopK,
            MinP = fields.Real("min_p", 0, 0.999) ?? standard.MinP,
            RepetitionPenalty = fields.Real("repetition_penalty", 0.01, 10) ?? standard.RepetitionPenalty,
            Seed = fields.Whole("seed", int.MinValue) ?? standard.Seed,
            Stop = [.. standard.Stop, .. fields.Texts("stop", MostStops).Where(s => s.Length > 0)],
        };
    }

    private static GenerationRequest Finish(
        IReadOnlyList<int> prompt,
        bool isChat,
        GenerationOptions options,
        RequestFields fields,
        ChatModel model,
        ServerOptions server
    )
    {
        if (prompt.Count == 0)
            throw new ApiException(
                400,
                "The prompt is empty, and the model has no token that begins a text.",
                isChat ? "messages" : "prompt",
                "invalid_value"
            );
        if (prompt.Count >= model.Context)
        {
            throw new ApiException(
                400,
                $"This model's context is {model.Context:N0} tokens, and the {(isChat ? "messages have" : "prompt has")} "
                    + $"{prompt.Count:N0}, which leaves no room for an answer.",
                isChat ? "messages" : "prompt",
                "context_length_exceeded"
            );
        }
        var usage =
            fields.Find("stream_options") is { ValueKind: JsonValueKind.Object } stream
            && new RequestFields(stream).Switch("include_usage");
        return new(
            prompt,
            isChat,
            options with
            {
                MaxTokens = Math.Min(options.MaxTokens, server.MaxTokens ?? int.MaxValue),
            },
            fields.Switch("stream"),
            usage
        );
    }
}
