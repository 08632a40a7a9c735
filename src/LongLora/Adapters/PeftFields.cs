using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Runtime;

namespace LongLora.Adapters;

/// <summary>The fields of <c>adapter_config.json</c>, each read with its expected type or refused by name.</summary>
/// <param name="json">The file's object.</param>
/// <param name="path">The file.</param>
internal sealed class PeftFields(JsonObject json, string path)
{
    /// <summary>A raw field; null if it is absent or null.</summary>
    internal JsonNode? this[string name] => json[name];

    /// <summary>All fields.</summary>
    internal IEnumerable<KeyValuePair<string, JsonNode?>> All => json;

    /// <summary>Makes the error for a field that is not supported.</summary>
    internal CheckpointException Refuse(string name, string why)
    {
        const int longest = 80;
        var value = json[name]?.ToJsonString() ?? "null";
        return new(
            $"Cannot load the adapter because {path} has '{name}': {(value.Length <= longest ? value : value[..(longest - 3)] + "...")}; "
                + $"{why}."
        );
    }

    /// <summary>File and field, for messages.</summary>
    internal string Locate(string name) => $"{path}: '{name}'";

    /// <summary>Whether a field turns its option off, as PEFT writes it: null, false, an empty list or an empty object.</summary>
    internal static bool SaysNothing(JsonNode? value) =>
        value switch
        {
            null => true,
            JsonArray list => list.Count == 0,
            JsonObject fields => fields.Count == 0,
            _ => value.GetValueKind() == JsonValueKind.False,
        };

    /// <summary>A flag; false where it is absent.</summary>
    internal bool TakeFlag(string name) =>
        json[name]?.GetValueKind() switch
        {
            null or JsonValueKind.False => false,
            JsonValueKind.True => true,
            _ => throw Refuse(name, "it must be true or false"),
        };

    /// <summary>A string; null if it is absent.</summary>
    internal string? TakeText(string name) =>
        json[name] switch
        {
            null => null,
            JsonValue value when value.GetValueKind() == JsonValueKind.String => value.ToString(),
            _ => throw Refuse(name, "it must be a string"),
        };

    /// <summary>A number above 0; null if it is absent.</summary>
    internal double? TakeNumber(string name) =>
        json[name] switch
        {
            null => null,
            JsonValue value when IsAboveZero(value) => value.GetValue<double>(),
            _ => throw Refuse(name, "it must be a number above 0"),
        };

    /// <summary>A list of names; null if it is absent.</summary>
    internal string[]? TakeNames(string name) =>
        json[name] switch
        {
            null => null,
            JsonArray list when list.All(n => n?.GetValueKind() == JsonValueKind.String) => [.. list.Select(n => n!.ToString())],
            _ => throw Refuse(name, "it must be a list of names"),
        };

    /// <summary>An integer or a list of integers, at least 0; null if it is absent.</summary>
    internal long[]? TakeWhole(string name) => TakeWhole(name, json[name]);

    /// <summary>A part of a field as integers.</summary>
    internal long[]? TakeWhole(string name, JsonNode? value)
    {
        static bool IsWhole(JsonNode? node) => node is JsonValue number && number.TryGetValue<long>(out var whole) && whole >= 0;
        return value switch
        {
            null => null,
            _ when IsWhole(value) => [value.GetValue<long>()],
            JsonArray list when list.All(IsWhole) => [.. list.Select(n => n!.GetValue<long>())],
            _ => throw Refuse(name, "it must be integers of at least 0"),
        };
    }

    /// <summary>An object that maps names to numbers above 0, in file order.</summary>
    internal IEnumerable<(string Key, double Value)> TakeNumbers(string name)
    {
        if (SaysNothing(json[name]))
            return [];
        if (json[name] is not JsonObject keys)
            throw Refuse(name, "it must be an object that maps names to numbers");
        return keys.Select(k =>
            IsAboveZero(k.Value) ? (k.Key, k.Value!.GetValue<double>()) : throw Refuse(name, $"'{k.Key}' must have a number above 0")
        );
    }

    private static bool IsAboveZero(JsonNode? value) => value?.GetValueKind() == JsonValueKind.Number && value.GetValue<double>() > 0;
}
