using System.Globalization;

namespace LongLora.Runtime;

/// <summary>Numbers of bytes as people write them: 500MB, 64GiB.</summary>
internal static class ByteSize
{
    private const double Kibi = 1024;

    private static readonly (string Unit, double Bytes)[] s_units =
    [
        ("TiB", Kibi * Kibi * Kibi * Kibi),
        ("GiB", Kibi * Kibi * Kibi),
        ("MiB", Kibi * Kibi),
        ("KiB", Kibi),
        ("TB", 1e12),
        ("GB", 1e9),
        ("MB", 1e6),
        ("KB", 1e3),
        ("B", 1),
    ];

    /// <summary>Parses a size.</summary>
    /// <param name="text">The text.</param>
    /// <param name="option">The option that has it, for messages.</param>
    /// <param name="examples">Sizes that fit, for messages.</param>
    /// <param name="plain">Bytes that a number without a unit counts.</param>
    /// <exception cref="ConfigurationException">It is not a size, or below one byte.</exception>
    internal static long Parse(string text, string option, string examples, double plain = 1)
    {
        var (unit, bytes) = s_units.Append(("", plain)).First(u => text.EndsWith(u.Item1, StringComparison.OrdinalIgnoreCase));
        return
            double.TryParse(
                text.AsSpan()[..^unit.Length].TrimEnd(),
                NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture,
                out var number
            ) && number * bytes is >= 1 and < long.MaxValue
            ? (long)(number * bytes)
            : throw new ConfigurationException($"{option} is '{text}'; give a size such as {examples}.");
    }

    /// <summary>A size that <see cref="Parse"/> reads as the same number, in the largest binary unit that divides it.</summary>
    internal static string Format(long bytes)
    {
        var (unit, size) = s_units.First(u => u.Bytes == 1 || (u.Unit[1] == 'i' && bytes >= u.Bytes && bytes % (long)u.Bytes == 0));
        return string.Create(CultureInfo.InvariantCulture, $"{bytes / (long)size}{unit}");
    }
}
