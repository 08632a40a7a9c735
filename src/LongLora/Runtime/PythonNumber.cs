using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Runtime;

/// <summary>Numbers as Python writes them, in texts and in JSON files that Python's libraries read.</summary>
internal static class PythonNumber
{
    /// <summary>A float as Python's <c>repr</c>: always with a point or an exponent, with one from 1e16 and below 1e-4.</summary>
    public static string Format(double number)
    {
        if (!double.IsFinite(number))
            return double.IsNaN(number) ? "nan"
                : number > 0 ? "inf"
                : "-inf";
        var shortest = number.ToString("R", CultureInfo.InvariantCulture);
        if (number == 0 || Math.Abs(number) is >= 1e-4 and < 1e16)
            return number == Math.Floor(number)
                ? number.ToString("F1", CultureInfo.InvariantCulture)
                : decimal.Parse(shortest, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture);
        // 1e+16, 1.5e-05. .NET's own form with an exponent begins later: it writes whole numbers up to 17 digits.
        if (!shortest.Contains('E', StringComparison.Ordinal))
        {
            var digits = shortest.TrimStart('-').TrimEnd('0');
            var sign = number < 0 ? "-" : "";
            shortest = $"{sign}{digits[..1]}{(digits.Length > 1 ? "." + digits[1..] : "")}e+{shortest.TrimStart('-').Length - 1}";
        }
        return shortest.Replace('E', 'e');
    }

    /// <summary>
    /// The same JSON with every float spelled as one. .NET writes 6.0 as 6, which Python reads as an integer, and transformers checks the
    /// types of some fields. Numbers that were read from a text keep their spelling.
    /// </summary>
    public static JsonNode? KeepFloats(JsonNode? node) =>
        node switch
        {
            JsonObject members => new JsonObject(members.Select(m => KeyValuePair.Create(m.Key, KeepFloats(m.Value)))),
            JsonArray items => new JsonArray([.. items.Select(KeepFloats)]),
            JsonValue value when !value.TryGetValue<JsonElement>(out _) && value.TryGetValue<double>(out var number) => Parse(number),
            JsonValue value when !value.TryGetValue<JsonElement>(out _) && value.TryGetValue<float>(out var number) => Parse(
                double.Parse(number.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)
            ),
            _ => node?.DeepClone(),
        };

    /// <summary>A number for a field that Python's libraries write without a point where it is whole.</summary>
    public static JsonNode ToJson(double number) => number == Math.Floor(number) ? (JsonNode)(long)number : number;

    private static JsonNode? Parse(double number) => JsonNode.Parse(Format(number));
}
