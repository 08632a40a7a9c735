using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads the metadata of a GGUF file by key, type and range, like <see cref="Configs.ConfigFields"/> for JSON. Keys with a prefix that
/// nothing has read are refused at the end, so the code that reads the keys is also the list of known keys. Writers use different integer
/// types, so any is accepted.
/// </summary>
internal sealed class GgufMetadata(GgufReader file)
{
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    /// <summary>The file's path, for messages.</summary>
    public string Path => file.Path;

    /// <summary>Whether there is such a key.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>An integer; null if the key is missing.</summary>
    public long? IntegerOrNull(string key, long minimum = 0) =>
        Find(key) is { } value ? ToInteger(key, value, minimum, int.MaxValue) : null;

    /// <summary>An integer that fits an int.</summary>
    public int Integer(string key, int minimum = 1) => (int)(IntegerOrNull(key, minimum) ?? throw Missing(key));

    /// <summary>A number that must be the same for all layers: a single number, or a list of equal ones.</summary>
    public int? UniformOrNull(string key, int minimum = 1)
    {
        if (Find(key) is not Array list)
            return (int?)IntegerOrNull(key, minimum);
        var numbers = list.Cast<object>().Select(item => (int)ToInteger(key, item, minimum, int.MaxValue)).Distinct().ToList();
        return numbers.Count == 1
            ? numbers[0]
            : throw Bad(key, $"[{string.Join(", ", list.Cast<object>().Take(8))}, ...]", "layers of different sizes are not supported");
    }

    /// <summary>A number, read through its shortest decimal form: a float of 9.99999975E-06 is 1e-5.</summary>
    public double? NumberOrNull(string key, double minimum = double.Epsilon)
    {
        if (Find(key) is not { } value)
            return null;
        var number = value switch
        {
            float single => double.Parse(single.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
            double wide => wide,
            _ => ToInteger(key, value, long.MinValue, long.MaxValue),
        };
        return double.IsFinite(number) && number >= minimum
            ? number
            : throw Bad(
                key,
                value,
                minimum == double.Epsilon ? "it must be a number above 0" : $"it must be a number of at least {minimum}"
            );
    }

    /// <summary>True or false; null if the key is missing.</summary>
    public bool? FlagOrNull(string key) =>
        Find(key) is { } value
            ? value is bool flag
                ? flag
                : throw Bad(key, value, "it must be true or false")
            : null;

    /// <summary>A string; null if the key is missing.</summary>
    public string? TextOrNull(string key) =>
        Find(key) is { } value
            ? value is string text
                ? text
                : throw Bad(key, value, "it must be a string")
            : null;

    /// <summary>A list; null if the key is missing.</summary>
    public IReadOnlyList<T>? ListOrNull<T>(string key) =>
        Find(key) is { } value ? value as T[] ?? throw Bad(key, value, $"it must be a list of {typeof(T).Name}") : null;

    /// <summary>Requires a number, if present, to have one fixed value.</summary>
    public void Fixed(string key, double needed, string why)
    {
        if (NumberOrNull(key, double.MinValue) is { } seen && seen != needed)
            throw Bad(key, seen, $"only {needed.ToString(CultureInfo.InvariantCulture)} is supported because {why}");
    }

    /// <summary>Marks a key as known; it does not change what the model computes.</summary>
    public void Note(string key) => _known.Add(key);

    /// <summary>Refuses every key with a prefix that no other method has read.</summary>
    /// <param name="prefix">Such as <c>llama.</c>.</param>
    public void RefuseOthers(string prefix)
    {
        var unknown = file.Keys.Keys.Where(k => k.StartsWith(prefix, StringComparison.Ordinal) && !_known.Contains(k)).ToList();
        if (unknown.Count > 0)
            throw new CheckpointException(
                $"{Path}: {(unknown.Count == 1 ? "the key" : "the keys")} {string.Join(", ", unknown.Select(k => $"'{k}'"))} "
                    + $"{(unknown.Count == 1 ? "is" : "are")} not supported. An ignored key could change the model's output."
            );
    }

    /// <summary>Makes the error for a key with an invalid value.</summary>
    public CheckpointException Bad(string key, object value, string why) => new($"{Path}: '{key}' is {Shown(value)}; {why}.");

    /// <summary>Makes the error for a missing key.</summary>
    public CheckpointException Missing(string key) => new($"{Path}: the key '{key}' is missing.{NearestName.Hint(key, file.Keys.Keys)}");

    private object? Find(string key)
    {
        _known.Add(key);
        return file.Keys.GetValueOrDefault(key);
    }

    private long ToInteger(string key, object value, long minimum, long maximum)
    {
        Int128? number = value switch
        {
            byte or sbyte or ushort or short or int or long => Convert.ToInt64(value, CultureInfo.InvariantCulture),
            uint unsigned => unsigned,
            ulong unsigned => unsigned,
            _ => null,
        };
        return number is { } known && known >= minimum && known <= maximum
            ? (long)known
            : throw Bad(key, value, minimum == long.MinValue ? "it must be an integer" : $"it must be an integer of at least {minimum}");
    }

    private static string Shown(object value) =>
        value switch
        {
            Array list => $"a list of {list.Length} items",
            string text => $"'{(text.Length > 60 ? text[..57] + "..." : text)}'",
            _ => string.Create(CultureInfo.InvariantCulture, $"{value}"),
        };
}
