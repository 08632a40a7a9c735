using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>A file or folder of data, and how often it is seen in one pass.</summary>
/// <param name="Path">File or folder.</param>
/// <param name="Weight">
/// Above 0, default 1: with 2 everything in it is seen twice in each pass, with 0.5 each pass sees half of it, and the next one the other
/// half.
/// </param>
public readonly record struct DataSource(string Path, double Weight = 1)
{
    /// <summary>A path that is seen once in a pass.</summary>
    public static implicit operator DataSource(string path) => new(path);

    /// <summary>A path alone, or with <c>@</c> and its weight behind it: <c>books@0.5</c>.</summary>
    /// <exception cref="ConfigurationException">The weight is not above 0.</exception>
    public static DataSource Parse(string text)
    {
        if (!HasWeight(text, out var at, out var weight))
            return new DataSource(text);
        return weight > 0 && double.IsFinite(weight)
            ? new DataSource(text[..at], weight)
            : throw new ConfigurationException($"data has '{text}'; the weight behind the last @ must be above 0.");
    }

    /// <summary>As <see cref="Parse"/> reads it.</summary>
    public override string ToString() =>
        Weight == 1 && !HasWeight(Path, out _, out _) ? Path : string.Create(CultureInfo.InvariantCulture, $"{Path}@{Weight:R}");

    private static bool HasWeight(string text, out int at, out double weight)
    {
        at = text.LastIndexOf('@');
        weight = 0;
        return at > 0 && double.TryParse(text.AsSpan(at + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out weight);
    }
}
