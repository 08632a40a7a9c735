using System.Text.Json;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>A text that a request has as text or as token ids.</summary>
/// <param name="Name">Its field.</param>
/// <param name="Text">The text; null if it was given as token ids.</param>
/// <param name="Tokens">Its token ids.</param>
internal sealed record TextInput(string Name, string? Text, IReadOnlyList<int> Tokens)
{
    /// <summary>The text, also of token ids.</summary>
    internal string ReadText(ChatModel model) => Text ?? model.Tokenizer.Decode([.. Tokens]);

    /// <summary>Reads one text, an array of texts, one array of token ids, or an array of such arrays.</summary>
    /// <param name="fields">The request.</param>
    /// <param name="name">The field.</param>
    /// <param name="model">Gives the range of token ids.</param>
    /// <param name="most">Most texts.</param>
    /// <param name="encode">The token ids of a text; its first argument is the text's field.</param>
    internal static IReadOnlyList<TextInput> Read(
        RequestFields fields,
        string name,
        ChatModel model,
        int most,
        Func<string, string, IReadOnlyList<int>> encode
    )
    {
        if (fields.Find(name) is not { } value)
            throw new ApiException(400, $"{name} is missing; give a text, or an array of texts or token ids.", name, "invalid_value");
        if (value.ValueKind == JsonValueKind.String || (value.ValueKind == JsonValueKind.Array && IsNumber(value)))
            return [ReadOne(name, value, model, encode)];
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0)
            throw RequestFields.Wrong(name, value, "a text, or an array of texts or token ids");
        if (value.GetArrayLength() > most)
            throw new ApiException(400, $"{name} has {value.GetArrayLength()} texts; it must have at most {most}.", name, "invalid_value");
        return [.. value.EnumerateArray().Select((item, i) => ReadOne($"{name}[{i}]", item, model, encode))];
    }

    private static bool IsNumber(JsonElement array) => array.GetArrayLength() > 0 && array[0].ValueKind == JsonValueKind.Number;

    private static TextInput ReadOne(string name, JsonElement value, ChatModel model, Func<string, string, IReadOnlyList<int>> encode)
    {
        if (value.ValueKind == JsonValueKind.String)
            return new(name, value.GetString()!, encode(name, value.GetString()!));
        if (value.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong(name, value, "a text, or an array of token ids");
        return new(name, null, SamplingFields.ReadIds(name, value, model));
    }
}
