using System.Globalization;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>
/// The fields of one JSON object of a config, each read by name, type and range. Fields that nobody has read are refused at the end, so the
/// code that reads a family's fields is also the list of its known fields. A null field counts as absent.
/// </summary>
/// <param name="file">For messages.</param>
/// <param name="path">Name of the object inside the file with a dot after it; empty for the whole file.</param>
/// <param name="element">The object.</param>
internal sealed class ConfigFields(string file, string path, JsonElement element)
{
    /// <summary>The most things of which each is made by itself, so that a wrong number is refused and not endless work.</summary>
    internal const int MostCount = 4096;

    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    public bool Has(string name) => Find(name) is not null;

    /// <summary>Whether the file contains the field, even as null.</summary>
    public bool Contains(string name) => element.TryGetProperty(name, out _);

    public int ReadInteger(string name, int minimum = 1) => ReadIntegerOrNull(name, minimum) ?? throw MakeMissingError(name);

    public int? ReadIntegerOrNull(string name, int minimum = 1) => Find(name) is { } value ? ToInteger(name, value, minimum) : null;

    /// <summary>The number of things that are made one by one, such as layers: at most <see cref="MostCount"/>.</summary>
    public int? ReadCountOrNull(string name) =>
        ReadIntegerOrNull(name) switch
        {
            > MostCount => throw MakeError(
                name,
                Find(name)!.Value,
                string.Create(CultureInfo.InvariantCulture, $"it must be at most {MostCount:N0}")
            ),
            var count => count,
        };

    /// <summary>As <see cref="ReadCountOrNull"/>, for a field that must be there.</summary>
    public int ReadCount(string name) => ReadCountOrNull(name) ?? throw MakeMissingError(name);

    public double ReadNumber(string name, double minimum) => ReadNumberOrNull(name, minimum) ?? throw MakeMissingError(name);

    public double? ReadNumberOrNull(string name, double minimum)
    {
        if (Find(name) is not { } value)
            return null;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && double.IsFinite(number) && number >= minimum
            ? number
            : throw MakeError(
                name,
                value,
                minimum == double.Epsilon ? "it must be a number above 0" : $"it must be a number of at least {Format(minimum)}"
            );
    }

    public double? ReadPositiveOrNull(string name) => ReadNumberOrNull(name, double.Epsilon);

    public bool? ReadFlagOrNull(string name) =>
        Find(name) is { } value
            ? value.ValueKind is JsonValueKind.True or JsonValueKind.False
                ? value.GetBoolean()
                : throw MakeError(name, value, "it must be true or false")
            : null;

    public string? ReadTextOrNull(string name) =>
        Find(name) is { } value
            ? value.ValueKind == JsonValueKind.String
                ? value.GetString()
                : throw MakeError(name, value, "it must be a string")
            : null;

    /// <summary>One of a list of strings.</summary>
    public string ReadChoice(string name, string absent, params string[] choices)
    {
        var text = ReadTextOrNull(name) ?? absent;
        return choices.Contains(text)
            ? text
            : throw (Find(name) is { } value ? MakeError(name, value, $"supported: {string.Join(", ", choices)}") : MakeMissingError(name));
    }

    /// <summary>A number or a list of numbers.</summary>
    public IReadOnlyList<int> ReadIntegers(string name, int minimum)
    {
        if (Find(name) is not { } value)
            return [];
        return value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select(item => ToInteger(name, item, minimum))]
            : [ToInteger(name, value, minimum)];
    }

    /// <summary>A list of whole numbers, one for each of something.</summary>
    public IReadOnlyList<int>? ReadIntegersOrNull(string name, int count, int minimum)
    {
        if (Find(name) is not { } value)
            return null;
        Require(value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == count, name, $"it must be a list of {count} numbers");
        return ReadIntegers(name, minimum);
    }

    public IReadOnlyList<double>? ReadNumbersOrNull(string name, int count)
    {
        if (Find(name) is not { } value)
            return null;
        var needed = $"it must be a list of {count} numbers above 0";
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != count)
            throw MakeError(name, value, needed);
        return
        [
            .. value
                .EnumerateArray()
                .Select(item =>
                    item.ValueKind == JsonValueKind.Number && item.GetDouble() is > 0 and < double.PositiveInfinity
                        ? item.GetDouble()
                        : throw MakeError(name, item, needed)
                ),
        ];
    }

    public IReadOnlyList<string> ReadTexts(string name)
    {
        if (Find(name) is not { } value)
            return [];
        return value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. value.EnumerateArray().Select(item => item.GetString()!)]
            : throw MakeError(name, value, "it must be a list of strings");
    }

    /// <summary>The values of all fields, which must be strings.</summary>
    public IReadOnlyList<string> ReadAllTexts() => [.. element.EnumerateObject().Select(p => ReadTextOrNull(p.Name) ?? "")];

    public ConfigFields? ReadObjectOrNull(string name) =>
        Find(name) is { } value
            ? value.ValueKind == JsonValueKind.Object
                ? new ConfigFields(file, path + name + ".", value)
                : throw MakeError(name, value, "it must be an object")
            : null;

    /// <summary>The fields that are objects, each under its name.</summary>
    public IReadOnlyList<(string Name, ConfigFields Fields)> ReadObjects() =>
        [
            .. element
                .EnumerateObject()
                .Where(p => p.Value.ValueKind == JsonValueKind.Object)
                .Select(p => (p.Name, ReadObjectOrNull(p.Name)!)),
        ];

    /// <summary>Accepts fields that do not affect the numbers that the model computes.</summary>
    public void MarkKnown(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            _known.Add(name);
    }

    /// <summary>Accepts a number that may have only one value.</summary>
    public void RequireFixed(string name, double needed, string why)
    {
        if (ReadNumberOrNull(name, double.MinValue) is { } seen && seen != needed)
            throw MakeError(name, Find(name)!.Value, $"only {Format(needed)} is supported because {why}");
    }

    /// <summary>Accepts a flag that may have only one value.</summary>
    public void RequireFixed(string name, bool needed, string why)
    {
        if (ReadFlagOrNull(name) is { } seen && seen != needed)
            throw MakeError(name, Find(name)!.Value, $"only {(needed ? "true" : "false")} is supported because {why}");
    }

    /// <summary>Refuses a field that must not be present.</summary>
    public void Refuse(string name, string why)
    {
        if (Find(name) is { } value)
            throw MakeError(name, value, why);
    }

    public void Require(bool holds, string name, string why)
    {
        if (!holds)
            throw MakeError(name, Find(name) ?? default, why);
    }

    /// <summary>Refuses every field that nobody has read, unless it is null or empty.</summary>
    /// <param name="where">What the fields belong to, for the message, such as "llama models".</param>
    public void RefuseOthers(string where)
    {
        var unknown = element.EnumerateObject().Where(p => !_known.Contains(p.Name) && !IsEmpty(p.Value)).ToList();
        if (unknown.Count == 0)
            return;
        var list = string.Join(", ", unknown.Select(p => $"'{path}{p.Name}' = {Shorten(p.Value)}"));
        throw new CheckpointException(
            $"{file}: {(unknown.Count == 1 ? "unknown field" : "unknown fields")} for {where}: "
                + $"{list}.{NearestName.Hint(unknown[0].Name, _known)} "
                + "An ignored field could change the numbers. Remove it from the file if it is only a note."
        );
    }

    public CheckpointException MakeError(string name, JsonElement value, string why) =>
        new($"{file}: '{path}{name}' is {Shorten(value)}; {why}.");

    public CheckpointException MakeMissingError(string name)
    {
        var unknown = element.EnumerateObject().Select(p => p.Name).Where(n => !_known.Contains(n));
        return new($"{file}: '{path}{name}' is missing.{(NearestName.Find(name, unknown) is { } near ? $" There is a '{near}'." : "")}");
    }

    private JsonElement? Find(string name)
    {
        _known.Add(name);
        return element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    private int ToInteger(string name, JsonElement value, int minimum) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= minimum
            ? number
            : throw MakeError(name, value, $"it must be an integer of at least {minimum}");

    private static bool IsEmpty(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Null => true,
            JsonValueKind.Array => value.GetArrayLength() == 0,
            JsonValueKind.Object => value.GetPropertyCount() == 0,
            _ => false,
        };

    private static string Format(double number) => number.ToString(CultureInfo.InvariantCulture);

    private static string Shorten(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Undefined)
            return "absent";
        var text = value.GetRawText();
        return text.Length <= 80 ? text : text[..77] + "...";
    }
}
