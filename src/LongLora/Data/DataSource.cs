using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>A file or folder of data, and how often it is used in one pass.</summary>
/// <param name="Path">File or folder.</param>
/// <param name="Weight">
/// Above 0, default 1. With 2, each pass uses everything twice. With 0.5, each pass uses half of it, and the next pass the other half.
/// </param>
public readonly record struct DataSource(string Path, double Weight = 1)
{
    /// <summary>A path that is used once per pass.</summary>
    public static implicit operator DataSource(string path) => new(path);

    /// <summary>A path, optionally followed by <c>@</c> and its weight: <c>books@0.5</c>.</summary>
    /// <exception cref="ConfigurationException">The weight is not above 0.</exception>
    public static DataSource Parse(string text)
    {
        if (!HasWeight(text, out var at, out var weight))
            return new DataSource(text);
        return weight > 0 && double.IsFinite(weight)
            ? new DataSource(text[..at], weight)
            : throw new ConfigurationException($"data has '{text}', but the weight after the last @ must be above 0.");
    }

    /// <summary>The format that <see cref="Parse"/> reads.</summary>
    public override string ToString() =>
        Weight == 1 && !HasWeight(Path, out _, out _) ? Path : string.Create(CultureInfo.InvariantCulture, $"{Path}@{Weight:R}");

    private static bool HasWeight(string text, out int at, out double weight)
    {
        at = text.LastIndexOf('@');
        weight = 0;
        return at > 0 && double.TryParse(text.AsSpan(at + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out weight);
    }
}
