using System.Globalization;
using System.Numerics;

namespace LongLora.Runtime;

/// <summary>
/// Numbers as people type them in options and recipes. A comma is refused: it is a decimal sign to some and groups thousands for others.
/// </summary>
internal static class NumberText
{
    /// <summary>Parses a finite number.</summary>
    /// <param name="name">The option, for the message.</param>
    /// <param name="text">The text.</param>
    /// <exception cref="ConfigurationException">It is not one.</exception>
    internal static double ParseReal(string name, string text) =>
        TryParseReal(text, out var value)
            ? value
            : throw new ConfigurationException($"{name} is '{text}'; it must be a number such as 0.5 or 2e-5.");

    /// <summary>Parses a whole number in decimal digits.</summary>
    /// <inheritdoc cref="ParseReal"/>
    internal static T ParseWhole<T>(string name, string text)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T> =>
        T.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value
        : text.Length > 0 && text.TrimStart('+', '-').All(char.IsAsciiDigit)
            ? throw new ConfigurationException($"{name} is '{text}'; it must be from {T.MinValue} to {T.MaxValue}.")
        : throw new ConfigurationException($"{name} is '{text}'; it must be a whole number.");

    /// <summary>Parses a finite number if the text is one.</summary>
    internal static bool TryParseReal(ReadOnlySpan<char> text, out double value) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);
}
