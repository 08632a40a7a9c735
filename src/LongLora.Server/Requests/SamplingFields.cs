using System.Globalization;
using System.Text.Json;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>The fields that say how an answer is generated: the only place where they become options.</summary>
internal static class SamplingFields
{
    private const int MostStops = 16,
        MostBias = 100;

    /// <summary>The greatest number of likeliest tokens for each token of an answer.</summary>
    internal const int MostLogProbabilities = 20;

    /// <summary>Reads them.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="server">Gives defaults and limits.</param>
    /// <param name="model">Gives the range of token ids.</param>
    /// <param name="maxTokens">Names of the field with the most tokens; the first that is present counts.</param>
    internal static GenerationOptions Read(RequestFields fields, ServerOptions server, ChatModel model, params string[] maxTokens)
    {
        var standard = server.Defaults;
        var most = ReadMaxTokens(fields, server, maxTokens);
        // The server's own least gives way to a request for few tokens.
        var least = fields.FindWhole("min_tokens", 0) ?? Math.Min(standard.MinTokens, most);
        if (least > most)
            throw new ApiException(
                400,
                $"min_tokens is {least}; it must be at most {most}, the most tokens of this answer.",
                "min_tokens",
                "invalid_value"
            );
        return standard with
        {
            MaxTokens = most,
            MinTokens = least,
            Temperature = fields.FindReal("temperature", 0, 2) ?? standard.Temperature,
            TopP = fields.FindReal("top_p", 0, 1) ?? standard.TopP,
            TopK = fields.FindWhole("top_k", -1) is { } k ? Math.Max(0, k) : standard.TopK, // -1 is vLLM's "all"
            MinP = fields.FindReal("min_p", 0, 0.999) ?? standard.MinP,
            RepetitionPenalty = fields.FindReal("repetition_penalty", 0.01, 10) ?? standard.RepetitionPenalty,
            FrequencyPenalty = fields.FindReal("frequency_penalty", -2, 2) ?? standard.FrequencyPenalty,
            PresencePenalty = fields.FindReal("presence_penalty", -2, 2) ?? standard.PresencePenalty,
            LogitBias = ReadBias(fields, model) ?? standard.LogitBias,
            Seed = fields.FindLong("seed", long.MinValue, long.MaxValue) ?? standard.Seed ?? TokenSampler.DrawSeed(),
            IgnoreEos = fields.FindSwitch("ignore_eos") ?? standard.IgnoreEos,
            Stop = fields.Find("stop") is null ? standard.Stop : [.. fields.FindTexts("stop", MostStops).Where(s => s.Length > 0)],
            StopTokens = ReadIds(fields, "stop_token_ids", model) ?? standard.StopTokens,
        };
    }

    /// <summary>An array of token ids; null if the field is missing.</summary>
    internal static IReadOnlyList<int>? ReadIds(RequestFields fields, string name, ChatModel model) =>
        fields.Find(name) is { } value ? ReadIds(fields.Name(name), value, model) : null;

    /// <summary>An array of token ids.</summary>
    internal static IReadOnlyList<int> ReadIds(string name, JsonElement value, ChatModel model)
    {
        if (value.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong(name, value, "an array of token ids");
        return
        [
            .. value
                .EnumerateArray()
                .Select((id, i) => (int)RequestFields.ReadWhole($"{name}[{i}]", id, 0, model.Tokenizer.VocabularySize - 1)),
        ];
    }

    private static int ReadMaxTokens(RequestFields fields, ServerOptions server, string[] names)
    {
        var limit = server.MaxTokens ?? int.MaxValue;
        int? asked = null;
        foreach (var name in names)
        {
            if (fields.FindWhole(name, -1) is not { } number || asked is not null)
                continue;
            if (number == 0)
                throw RequestFields.Wrong(fields.Name(name), fields.Find(name)!.Value, "at least 1, or -1 for what the context leaves");
            if (number > limit)
                throw RequestFields.Wrong(fields.Name(name), fields.Find(name)!.Value, $"at most {limit}, which this server gives");
            asked = number < 0 ? limit : number;
        }
        return asked ?? Math.Min(server.Defaults.MaxTokens, limit);
    }

    private static Dictionary<int, double>? ReadBias(RequestFields fields, ChatModel model)
    {
        var members = fields.FindMembers("logit_bias");
        if (members.Count == 0)
            return null;
        var bias = new Dictionary<int, double>();
        foreach (var (key, value) in members)
        {
            if (!int.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out var id) || id >= model.Tokenizer.VocabularySize)
                throw new ApiException(
                    400,
                    $"logit_bias has the key '{key}'; it must be a token id from 0 to {model.Tokenizer.VocabularySize - 1}.",
                    "logit_bias",
                    "invalid_value"
                );
            bias[id] = RequestFields.ReadReal($"logit_bias.{key}", value, -MostBias, MostBias);
        }
        return bias;
    }
}
