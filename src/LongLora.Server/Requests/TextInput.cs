using System.Text.Json;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>A text that a request has as text or as token ids.</summary>
/// <param name="Text">The text.</param>
/// <param name="Tokens">Its token ids.</param>
internal sealed record TextInput(string Text, IReadOnlyList<int> Tokens)
{
    /// <summary>Reads one text, an array of texts, one array of token ids, or an array of such arrays.</summary>
    internal static IReadOnlyList<TextInput> Read(RequestFields fields, string name, ChatModel model, int most)
    {
        if (fields.Find(name) is not { } value)
            throw new ApiException(400, $"{name} is missing; give a text, or an array of texts or token ids.", name, "invalid_value");
        if (value.ValueKind == JsonValueKind.String || (value.ValueKind == JsonValueKind.Array && IsNumber(value)))
            return [ReadOne(name, value, model)];
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() == 0)
            throw RequestFields.Wrong(name, value, "a text, or an array of texts or token ids");
        if (value.GetArrayLength() > most)
            throw new ApiException(400, $"{name} has {value.GetArrayLength()} texts; it must have at most {most}.", name, "invalid_value");
        return [.. value.EnumerateArray().Select((item, i) => ReadOne($"{name}[{i}]", item, model))];
    }

    private static bool IsNumber(JsonElement array) => array.GetArrayLength() > 0 && array[0].ValueKind == JsonValueKind.Number;

    private static TextInput ReadOne(string name, JsonElement value, ChatModel model)
    {
        if (value.ValueKind == JsonValueKind.String)
            return new(value.GetString()!, model.Tokenizer.Encode(value.GetString()!, addSpecial: true));
        if (value.ValueKind != JsonValueKind.Array)
            throw RequestFields.Wrong(name, value, "a text, or an array of token ids");
        var ids = SamplingFields.ReadIds(name, value, model);
        return new(model.Tokenizer.Decode([.. ids]), ids);
    }
}
