using System.Globalization;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>
/// The fields of a JSON request. Each is checked as it is read, so an error names the field, its value and the bound that was broken. What
/// nobody has read by the end is unknown and refused by name.
/// </summary>
internal sealed class RequestFields
{
    private readonly JsonElement _root;
    private readonly string _path;
    private readonly SortedSet<string> _known = new(StringComparer.Ordinal);

    /// <param name="root">The request, or an object inside it.</param>
    /// <param name="path">Where the object is, such as <c>messages[0]</c>; empty for the request.</param>
    internal RequestFields(JsonElement root, string path = "")
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw path.Length > 0
                ? Wrong(path, root, "an object")
                : new ApiException(400, $"The body is a JSON {root.ValueKind.ToString().ToLowerInvariant()}; it must be an object.");
        }
        (_root, _path) = (root, path);
    }

    /// <summary>The names that have been read so far.</summary>
    internal IReadOnlyCollection<string> Known => _known;

    /// <summary>A field that is present and not null.</summary>
    internal JsonElement? Find(string name)
    {
        _known.Add(name);
        return _root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    /// <summary>The full name of a field.</summary>
    internal string Name(string name) => _path.Length > 0 ? $"{_path}.{name}" : name;

    internal int? FindWhole(string name, int least, int most = int.MaxValue) => (int?)FindLong(name, least, most);

    internal long? FindLong(string name, long least, long most) =>
        Find(name) is { } value ? ReadWhole(Name(name), value, least, most) : null;

    internal static long ReadWhole(string name, JsonElement value, long least, long most)
    {
        if (value.ValueKind != JsonValueKind.Number)
            throw Wrong(name, value, "a whole number");
        if (value.TryGetInt64(out var number))
        {
            if (number < least)
                throw Wrong(name, value, $"at least {least}");
            return number <= most ? number : throw Wrong(name, value, $"at most {most}");
        }
        // Beyond 64 bits, or with a fraction. Some clients write 3.0.
        var real = value.GetDouble();
        if (real > most || real >= long.MaxValue)
            throw Wrong(name, value, $"at most {most}");
        if (real < least || real <= long.MinValue)
            throw Wrong(name, value, $"at least {least}");
        return real == Math.Truncate(real) && Math.Abs(real) < 1L << 53 ? (long)real : throw Wrong(name, value, "a whole number");
    }

    internal double? FindReal(string name, double least, double most) =>
        Find(name) is { } value ? ReadReal(Name(name), value, least, most) : null;

    internal static double ReadReal(string name, JsonElement value, double least, double most)
    {
        if (value.ValueKind != JsonValueKind.Number)
            throw Wrong(name, value, "a number");
        var number = value.GetDouble();
        if (number < least)
            throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"at least {least}"));
        return number <= most ? number : throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"at most {most}"));
    }

    internal bool? FindSwitch(string name) =>
        Find(name) switch
        {
            null => null,
            { ValueKind: JsonValueKind.True } => true,
            { ValueKind: JsonValueKind.False } => false,
            { } value => throw Wrong(Name(name), value, "true or false"),
        };

    internal string? FindText(string name) =>
        Find(name) switch
        {
            null => null,
            { ValueKind: JsonValueKind.String } value => value.GetString(),
            { } value => throw Wrong(Name(name), value, "a text"),
        };

    /// <summary>A text, or several.</summary>
    internal IReadOnlyList<string> FindTexts(string name, int most)
    {
        if (Find(name) is not { } value)
            return [];
        if (value.ValueKind == JsonValueKind.String)
            return [value.GetString()!];
        if (value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Any(t => t.ValueKind != JsonValueKind.String))
            throw Wrong(Name(name), value, "a text, or an array of texts");
        if (value.GetArrayLength() > most)
            throw new ApiException(
                400,
                $"{Name(name)} has {value.GetArrayLength()} texts; it must have at most {most}.",
                Name(name),
                "invalid_value"
            );
        return [.. value.EnumerateArray().Select(t => t.GetString()!)];
    }

    /// <summary>An object inside this one.</summary>
    internal RequestFields? FindFields(string name) => Find(name) is { } value ? new RequestFields(value, Name(name)) : null;

    /// <summary>The members of an object.</summary>
    internal IReadOnlyDictionary<string, JsonElement> FindMembers(string name) =>
        Find(name) switch
        {
            null => new Dictionary<string, JsonElement>(),
            { ValueKind: JsonValueKind.Object } value => value.EnumerateObject().ToDictionary(p => p.Name, p => p.Value),
            { } value => throw Wrong(Name(name), value, "an object"),
        };

    /// <summary>Accepts fields that make no difference here.</summary>
    internal void Accept(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            Find(name);
    }

    /// <summary>Accepts a field only with a value that makes no difference.</summary>
    internal void Refuse(string name, Func<JsonElement, bool> isHarmless, string why)
    {
        if (Find(name) is { } value && !isHarmless(value))
            throw new ApiException(400, $"Cannot do what {Name(name)} says because {why}", Name(name), "unsupported_parameter");
    }

    /// <summary>Refuses fields that nobody has read. Those without a value ask for nothing.</summary>
    internal void RefuseUnknown()
    {
        foreach (var field in _root.EnumerateObject())
        {
            if (field.Value.ValueKind != JsonValueKind.Null && !_known.Contains(field.Name))
                throw new ApiException(
                    400,
                    $"Cannot use the field {Name(field.Name)} because this server does not know it."
                        + $"{Hint(field.Name)} Correct it, or leave it out.",
                    Name(field.Name),
                    "unknown_parameter"
                );
        }
    }

    // Every endpoint has a name of its own for the most tokens.
    private string Hint(string name) =>
        name is "max_tokens" or "max_completion_tokens" && _known.Contains("max_output_tokens")
            ? NearestName.Hint("max_output_tokens", ["max_output_tokens"])
        : name is "max_output_tokens" or "max_completion_tokens" && _known.Contains("max_tokens")
            ? NearestName.Hint("max_tokens", ["max_tokens"])
        : NearestName.Hint(name, _known);

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
