using System.Globalization;
using System.Text.Json;

namespace LongLora.Server;

/// <summary>
/// The fields of a JSON request, each checked as it is read, so that an error names the field, what it was and what it may be.
/// </summary>
internal sealed class RequestFields
{
    private readonly JsonElement _root;

    internal RequestFields(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            throw new ApiException(400, $"The body is a JSON {root.ValueKind.ToString().ToLowerInvariant()}; it must be an object.");
        _root = root;
    }

    /// <summary>A field that is there and not null.</summary>
    internal JsonElement? Find(string name) =>
        _root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    internal int? Whole(string name, int least, int most = int.MaxValue)
    {
        if (Find(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetInt32(out var number) || number < least || number > most)
            throw Wrong(
                name,
                value,
                most == int.MaxValue ? $"a whole number of at least {least}" : $"a whole number from {least} to {most}"
            );
        return number;
    }

    internal double? Real(string name, double least, double most)
    {
        if (Find(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out var number) || !(number >= least && number <= most))
            throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"));
        return number;
    }

    internal bool Switch(string name) =>
        Find(name) switch
        {
            null => false,
            { ValueKind: JsonValueKind.True } => true,
            { ValueKind: JsonValueKind.False } => false,
            { } value => throw Wrong(name, value, "true or false"),
        };

    /// <summary>A text, or several.</summary>
    internal IReadOnlyList<string> Texts(string name, int most)
    {
        if (Find(name) is not { } value)
            return [];
        if (value.ValueKind == JsonValueKind.String)
            return [value.GetString()!];
        if (
            value.ValueKind != JsonValueKind.Array
            || value.GetArrayLength() > most
            || value.EnumerateArray().Any(t => t.ValueKind != JsonValueKind.String)
        )
            throw Wrong(name, value, $"a text, or at most {most} of them");
        return [.. value.EnumerateArray().Select(t => t.GetString()!)];
    }

    /// <summary>Refuses what is asked for and not done, rather than to leave it undone without a word.</summary>
    internal void Refuse(string name, Func<JsonElement, bool> isHarmless, string why)
    {
        if (Find(name) is { } value && !isHarmless(value))
            throw new ApiException(400, $"{name} is not supported: {why}", name, "unsupported_parameter");
    }

    internal static ApiException Wrong(string name, JsonElement value, string expected)
    {
        var seen = value.GetRawText();
        return new ApiException(
            400,
            $"{name} is {(seen.Length > 60 ? seen[..60] + "..." : seen)}; it must be {expected}.",
            name,
            "invalid_value"
        );
    }
}
