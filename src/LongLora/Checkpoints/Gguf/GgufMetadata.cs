using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// The metadata of a GGUF file by key, type and range, as <see cref="Configs.ConfigFields"/> is for JSON: what nobody asked for under a
/// prefix is refused in the end, so that the list of the keys that are known is the code that reads them. Writers differ in the integer
/// types that they use, so any is taken.
/// </summary>
/// <param name="path">The file's path, for messages.</param>
/// <param name="all">Every key of the file.</param>
internal sealed class GgufMetadata(string path, IReadOnlyDictionary<string, object> all)
{
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    /// <summary>The metadata of a file.</summary>
    public GgufMetadata(GgufReader file)
        : this(file.Path, file.Keys) { }

    /// <summary>The file's path, for messages.</summary>
    public string Path => path;

    /// <summary>What the architecture's keys begin with, such as <c>llama.</c>.</summary>
    public string Prefix { get; init; } = "";

    /// <summary>Whether the file has a tensor of that name.</summary>
    public Func<string, bool> HasTensor { get; init; } = _ => false;

    /// <summary>Whether a key was asked for.</summary>
    public bool IsKnown(string key) => _known.Contains(key);

    /// <summary>Whether there is such a key.</summary>
    public bool Has(string key) => Find(key) is not null;

    /// <summary>A whole number; null where the key is missing.</summary>
    public long? IntegerOrNull(string key, long minimum = 0) =>
        Find(key) is { } value ? ToInteger(key, value, minimum, int.MaxValue) : null;

    /// <summary>A whole number that fits an int.</summary>
    public int Integer(string key, int minimum = 1) => (int)(IntegerOrNull(key, minimum) ?? throw Missing(key));

    /// <summary>A number that every layer has alike: one, or a list of equal ones.</summary>
    public int? UniformOrNull(string key, int minimum = 1)
    {
        if (Find(key) is not Array list)
            return (int?)IntegerOrNull(key, minimum);
        var numbers = list.Cast<object>().Select(item => (int)ToInteger(key, item, minimum, int.MaxValue)).Distinct().ToList();
        return numbers.Count == 1
            ? numbers[0]
            : throw Bad(key, $"[{string.Join(", ", list.Cast<object>().Take(8))}, ...]", "layers of different sizes are not supported");
    }

    /// <summary>A number of each layer: one for all, or a list. True counts as 1. Null where the key is missing.</summary>
    public IReadOnlyList<int>? LayersOrNull(string key, int layers, int minimum = 0)
    {
        if (Find(key) is not { } value)
            return null;
        if (value is not Array list)
            return [.. Enumerable.Repeat((int)ToInteger(key, value, minimum, int.MaxValue), layers)];
        return list.Length == layers
            ? [.. list.Cast<object>().Select(item => item is bool flag ? (flag ? 1 : 0) : (int)ToInteger(key, item, minimum, int.MaxValue))]
            : throw Bad(key, value, $"one item for each of {layers} layers is needed");
    }

    /// <summary>Numbers of layers: one for all, or a list. Null where the key is missing.</summary>
    public IReadOnlyList<float>? NumbersOrNull(string key, int layers) =>
        Find(key) switch
        {
            null => null,
            float one => [.. Enumerable.Repeat(one, layers)],
            float[] list when list.Length == layers => list,
            IReadOnlyList<float> list when list.Count == layers => list,
            { } other => throw Bad(key, other, $"one number for each of {layers} layers is needed"),
        };

    /// <summary>Whether the key is a list.</summary>
    public bool IsList(string key) => all.GetValueOrDefault(key) is Array;

    /// <summary>A number, as its shortest decimal form says it: a float of 9.99999975E-06 is 1e-5.</summary>
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
            : throw Bad(key, value, minimum == double.Epsilon ? "a number above 0 is needed" : $"a number of at least {minimum} is needed");
    }

    /// <summary>True or false; null where the key is missing.</summary>
    public bool? FlagOrNull(string key) =>
        Find(key) is { } value
            ? value is bool flag
                ? flag
                : throw Bad(key, value, "true or false is needed")
            : null;

    /// <summary>A text; null where the key is missing.</summary>
    public string? TextOrNull(string key) =>
        Find(key) is { } value
            ? value is string text
                ? text
                : throw Bad(key, value, "a text is needed")
            : null;

    /// <summary>A list; null where the key is missing.</summary>
    public IReadOnlyList<T>? ListOrNull<T>(string key) =>
        Find(key) is { } value ? value as T[] ?? throw Bad(key, value, $"a list of {typeof(T).Name} is needed") : null;

    /// <summary>Knows a number that may have one value only.</summary>
    public void Fixed(string key, double needed, string why)
    {
        if (NumberOrNull(key, double.MinValue) is { } seen && seen != needed)
            throw Bad(key, seen, $"only {needed.ToString(CultureInfo.InvariantCulture)} is supported: {why}");
    }

    /// <summary>Knows a key that says nothing about the numbers that the model computes.</summary>
    public void Note(string key) => _known.Add(key);

    /// <summary>Refuses every key of a prefix that was not asked for.</summary>
    /// <param name="prefix">Such as <c>llama.</c>.</param>
    public void RefuseOthers(string prefix)
    {
        var unknown = all.Keys.Where(k => k.StartsWith(prefix, StringComparison.Ordinal) && !_known.Contains(k)).ToList();
        if (unknown.Count > 0)
            throw new CheckpointException(
                $"{Path}: {(unknown.Count == 1 ? "the key" : "the keys")} {string.Join(", ", unknown.Select(k => $"'{k}'"))} "
                    + $"{(unknown.Count == 1 ? "is" : "are")} not supported, and to ignore what could change the numbers would be wrong."
            );
    }

    /// <summary>The error that a key has a value that cannot be.</summary>
    public CheckpointException Bad(string key, object value, string why) => new($"{Path}: '{key}' is {Shown(value)}; {why}.");

    /// <summary>The error that a key is missing.</summary>
    public CheckpointException Missing(string key) => new($"{Path}: the key '{key}' is missing.{NearestName.Hint(key, all.Keys)}");

    private object? Find(string key)
    {
        _known.Add(key);
        return all.GetValueOrDefault(key);
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
            : throw Bad(key, value, minimum == long.MinValue ? "a number is needed" : $"a whole number of at least {minimum} is needed");
    }

    private static string Shown(object value) =>
        value switch
        {
            Array list => $"a list of {list.Length} items",
            string text => $"'{(text.Length > 60 ? text[..57] + "..." : text)}'",
            _ => string.Create(CultureInfo.InvariantCulture, $"{value}"),
        };
}
