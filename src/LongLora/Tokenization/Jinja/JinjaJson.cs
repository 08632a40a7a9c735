using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// JSON as the values of templates, and back to text as Python's <c>json.dumps</c> writes it. Equal JSON gives equal text, however its file
/// escaped, spaced or spelled it.
/// </summary>
internal sealed record JinjaJson
{
    /// <summary>Spaces a level; null for one line.</summary>
    public string? Indent { get; init; }

    /// <summary>What stands between two items; null for Python's default.</summary>
    public string? ItemSeparator { get; init; }

    /// <summary>What stands between a key and its value.</summary>
    public string KeySeparator { get; init; } = ": ";

    /// <summary>Whether all but ASCII is escaped. Default false, as in transformers.</summary>
    public bool EscapesUnicode { get; init; }

    /// <summary>Whether the keys of mappings are sorted.</summary>
    public bool SortsKeys { get; init; }

    /// <summary>The style of <c>tojson</c> without options.</summary>
    public static JinjaJson Plain { get; } = new();

    /// <summary>A value of templates. Of a key that stands twice the last value counts, as in Python.</summary>
    /// <param name="json">The JSON.</param>
    /// <param name="owner">The owner of its strings.</param>
    public static object? Read(JsonElement json, short owner = MarkedText.Template)
    {
        switch (json.ValueKind)
        {
            case JsonValueKind.String:
                return MarkedText.Of(json.GetString()!, owner);
            case JsonValueKind.Number:
                return ReadNumber(json.GetRawText());
            case JsonValueKind.True or JsonValueKind.False:
                return json.GetBoolean();
            case JsonValueKind.Array:
                return json.EnumerateArray().Select(item => Read(item, owner)).ToList();
            case JsonValueKind.Object:
                var map = new Dictionary<string, object?>(StringComparer.Ordinal);
                foreach (var member in json.EnumerateObject())
                    map[member.Name] = Read(member.Value, owner);
                return map;
            default:
                return null;
        }
    }

    /// <summary>The text of a value in this style.</summary>
    /// <exception cref="JinjaException">The value is, or contains, a function or something that is not defined.</exception>
    public string Write(object? value) => Write(value, 0);

    private string Write(object? value, int depth)
    {
        JinjaWork.Step();
        return value switch
        {
            null => "null",
            bool b => b ? "true" : "false",
            MarkedText t => Quote(t.Text),
            List<object?> list => Join('[', ']', list.Select(i => Write(i, depth + 1)), depth),
            Dictionary<string, object?> map => Join(
                '{',
                '}',
                (SortsKeys ? map.OrderBy(p => p.Key, StringComparer.Ordinal) : map.AsEnumerable()).Select(p =>
                    Quote(p.Key) + KeySeparator + Write(p.Value, depth + 1)
                ),
                depth
            ),
            double d when !double.IsFinite(d) => double.IsNaN(d) ? "NaN"
            : d > 0 ? "Infinity"
            : "-Infinity",
            long or double or BigInteger => JinjaValues.FormatNumber(value),
            _ => throw new JinjaException($"cannot write {JinjaValues.DescribeKind(value)} as JSON"),
        };
    }

    private string Join(char open, char close, IEnumerable<string> items, int depth)
    {
        string Line(int level)
        {
            JinjaWork.SpendText((long)(Indent?.Length ?? 0) * level);
            return Indent is null ? "" : "\n" + string.Concat(Enumerable.Repeat(Indent, level));
        }
        var comma = ItemSeparator ?? (Indent is null ? ", " : ",");
        var inside = string.Join(comma, items.Select(i => Take(Line(depth + 1) + i)));
        return inside.Length == 0 ? $"{open}{close}" : open + inside + Line(depth) + close;
    }

    private string Take(string item)
    {
        JinjaWork.SpendText((long)item.Length + (ItemSeparator?.Length ?? 0));
        return item;
    }

    /// <summary>A number as its text says: a whole one of any size, or a real one.</summary>
    public static object ReadNumber(string text)
    {
        if (text.AsSpan().IndexOfAny('.', 'e', 'E') >= 0)
            return double.Parse(text, CultureInfo.InvariantCulture);
        return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole)
            ? (object)whole
            : BigInteger.Parse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
    }

    private string Quote(string text)
    {
        var json = new StringBuilder("\"");
        foreach (var c in text)
        {
            json.Append(
                c switch
                {
                    '"' => "\\\"",
                    '\\' => "\\\\",
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    '\b' => "\\b",
                    '\f' => "\\f",
                    _ when c < ' ' || (EscapesUnicode && c > '~') => string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                    _ => c.ToString(),
                }
            );
        }
        return json.Append('"').ToString();
    }
}
