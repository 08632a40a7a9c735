using System.Globalization;
using System.Numerics;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// Python's operations on the values of chat templates: null, bool, long, BigInteger, double, <see cref="MarkedText"/>,
/// <c>List&lt;object?&gt;</c>, <c>Dictionary&lt;string, object?&gt;</c>, <see cref="JinjaNamespace"/>, <see cref="JinjaCall"/>,
/// <see cref="JinjaUndefined"/>.
/// </summary>
internal static class JinjaValues
{
    public static bool IsTrue(object? value) =>
        value switch
        {
            null or JinjaUndefined => false,
            bool b => b,
            long n => n != 0,
            double d => d != 0,
            BigInteger n => !n.IsZero,
            MarkedText t => t.Length > 0,
            List<object?> l => l.Count > 0,
            Dictionary<string, object?> m => m.Count > 0,
            _ => true,
        };

    /// <summary>The text of a value when printed.</summary>
    public static MarkedText ToText(object? value) =>
        value as MarkedText
        ?? MarkedText.Of(
            value switch
            {
                JinjaUndefined => "",
                List<object?> or Dictionary<string, object?> => FormatQuoted(value),
                _ => Format(value),
            }
        );

    public static bool AreEqual(object? a, object? b)
    {
        JinjaWork.Step();
        return (a, b) switch
        {
            (null, null) or (JinjaUndefined, JinjaUndefined) => true,
            (MarkedText x, MarkedText y) => x.Text == y.Text,
            (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(p => AreEqual(p.First, p.Second)),
            (Dictionary<string, object?> x, Dictionary<string, object?> y) => x.Count == y.Count
                && x.All(p => y.TryGetValue(p.Key, out var other) && AreEqual(p.Value, other)),
            _ => ToNumber(a) is { } m && ToNumber(b) is { } n ? m == n : ReferenceEquals(a, b),
        };
    }

    public static bool Compare(string sign, object? a, object? b) =>
        sign switch
        {
            "==" => AreEqual(a, b),
            "!=" => !AreEqual(a, b),
            "in" => Contains(b, a),
            "not in" => !Contains(b, a),
            "<" => Compare(a, b) < 0,
            ">" => Compare(a, b) > 0,
            "<=" => Compare(a, b) <= 0,
            _ => Compare(a, b) >= 0,
        };

    public static object? Calculate(string sign, object? a, object? b)
    {
        if (sign == "~")
            return MarkedText.Join([ToText(a), ToText(b)]);
        if (a is MarkedText x && b is MarkedText y && sign == "+")
            return MarkedText.Join([x, y]);
        if (a is MarkedText repeated && b is long times && sign == "*")
        {
            JinjaWork.SpendItems(Math.Max(0, times));
            return MarkedText.Join(Enumerable.Repeat(repeated, (int)Math.Clamp(times, 0, int.MaxValue)));
        }
        if (a is List<object?> first && b is List<object?> second && sign == "+")
        {
            JinjaWork.SpendItems((long)first.Count + second.Count);
            return (List<object?>)[.. first, .. second];
        }
        if (ToNumber(a) is not { } m || ToNumber(b) is not { } n)
            throw new JinjaException($"cannot compute {DescribeKind(a)} {sign} {DescribeKind(b)}");
        if (sign is "/" or "//" or "%" && n == 0)
            throw new JinjaException("division by zero");
        if (sign == "/")
            return m / n;
        if (a is not double && b is not double && (sign != "**" || n >= 0))
        {
            long i = (long)m,
                j = (long)n;
            return sign switch
            {
                "+" => i + j,
                "-" => i - j,
                "*" => i * j,
                "//" => (long)Math.Floor(m / n),
                "%" => i - j * (long)Math.Floor(m / n),
                _ => (long)Math.Pow(m, n),
            };
        }
        return sign switch
        {
            "+" => m + n,
            "-" => m - n,
            "*" => m * n,
            "//" => Math.Floor(m / n),
            "%" => m - n * Math.Floor(m / n),
            _ => Math.Pow(m, n),
        };
    }

    /// <summary><c>value.name</c>: a member, or a method.</summary>
    public static object? GetAttribute(object? value, string name) =>
        value switch
        {
            Dictionary<string, object?> map when JinjaMethods.FindForMap(map, name) is { } method => method,
            Dictionary<string, object?> map => map.TryGetValue(name, out var member) ? member : new JinjaUndefined(name),
            JinjaNamespace space => space.Values.TryGetValue(name, out var member) ? member : new JinjaUndefined(name),
            MarkedText text => JinjaMethods.FindForText(text, name) ?? new JinjaUndefined(name) as object,
            List<object?> when long.TryParse(name, CultureInfo.InvariantCulture, out var place) => GetItem(value, place),
            JinjaUndefined u => throw new JinjaException($"cannot get '{name}' of '{u.Name}' because it is not defined"),
            _ => new JinjaUndefined(name),
        };

    /// <summary><c>value[index]</c>.</summary>
    public static object? GetItem(object? value, object? index) =>
        (value, index) switch
        {
            (Dictionary<string, object?> map, MarkedText key) => map.TryGetValue(key.Text, out var member)
                ? member
                : new JinjaUndefined(key.Text),
            (JinjaNamespace space, MarkedText key) => GetAttribute(space, key.Text),
            (List<object?> list, long asked) => ResolveIndex(asked, list.Count) is { } at ? list[at] : new JinjaUndefined($"[{asked}]"),
            (MarkedText text, long asked) => ResolveIndex(asked, text.Length) is { } at
                ? text.Slice(at, 1)
                : new JinjaUndefined($"[{asked}]"),
            (JinjaUndefined u, _) => throw new JinjaException($"cannot get an item of '{u.Name}' because it is not defined"),
            _ => new JinjaUndefined(ToText(index).Text),
        };

    /// <summary><c>value[start:stop:step]</c>.</summary>
    public static object? Slice(object? value, object? start, object? stop, object? step)
    {
        var length = value switch
        {
            MarkedText t => t.Length,
            List<object?> l => l.Count,
            JinjaUndefined u => throw new JinjaException($"cannot get a part of '{u.Name}' because it is not defined"),
            _ => throw new JinjaException($"cannot get a part of {DescribeKind(value)}"),
        };
        var by = step is null ? 1 : Math.Clamp(ToWhole(step), -int.MaxValue, int.MaxValue);
        if (by == 0)
            throw new JinjaException("the step of a slice is 0");
        JinjaWork.SpendItems(value is MarkedText && by == 1 ? 1 : length);
        long Bound(object? given, long standard) =>
            given is null
                ? standard
                : Math.Clamp(ToWhole(given) < 0 ? ToWhole(given) + length : ToWhole(given), by > 0 ? 0 : -1, by > 0 ? length : length - 1);
        long from = Bound(start, by > 0 ? 0 : length - 1),
            to = Bound(stop, by > 0 ? length : -1);
        if (value is MarkedText text && by == 1)
            return text.Slice((int)from, (int)Math.Max(0, to - from));
        var places = new List<int>();
        for (var i = from; by > 0 ? i < to : i > to; i += by)
            places.Add((int)i);
        return value is List<object?> list
            ? places.ConvertAll(i => list[i])
            : MarkedText.Join(places.Select(i => ((MarkedText)value!).Slice(i, 1)));
    }

    /// <summary>The items that a loop goes over.</summary>
    public static List<object?> ToItems(object? value) =>
        value switch
        {
            List<object?> list => list,
            Dictionary<string, object?> map => [.. map.Keys.Select(k => MarkedText.Of(k))],
            MarkedText text => ToLetters(text),
            JinjaUndefined => [],
            _ => throw new JinjaException($"cannot loop over {DescribeKind(value)}"),
        };

    private static List<object?> ToLetters(MarkedText text)
    {
        JinjaWork.SpendItems(text.Length);
        return [.. Enumerable.Range(0, text.Length).Select(i => text.Slice(i, 1))];
    }

    public static long ToWhole(object? value) =>
        value switch
        {
            long n => n,
            bool b => b ? 1 : 0,
            _ => throw new JinjaException($"expected an integer, but got {DescribeKind(value)}"),
        };

    /// <summary>The message that a value came from, or the template.</summary>
    public static short FindOwner(object? value)
    {
        JinjaWork.Step();
        return value switch
        {
            MarkedText t => t.AnyOwner,
            List<object?> l => l.Select(FindOwner).FirstOrDefault(o => o != MarkedText.Template),
            Dictionary<string, object?> m => m.Values.Select(FindOwner).FirstOrDefault(o => o != MarkedText.Template),
            _ => MarkedText.Template,
        };
    }

    public static string DescribeKind(object? value) =>
        value switch
        {
            null => "none",
            bool => "a boolean",
            long or double or BigInteger => "a number",
            MarkedText => "a string",
            List<object?> => "a list",
            Dictionary<string, object?> => "a mapping",
            JinjaUndefined u => $"'{u.Name}' (which is not defined)",
            JinjaNamespace => "a namespace",
            _ => "a function",
        };

    private static double? ToNumber(object? value) =>
        value switch
        {
            long n => n,
            double d => d,
            BigInteger n => (double)n,
            bool b => b ? 1 : 0,
            _ => null,
        };

    private static bool Contains(object? whole, object? part) =>
        (whole, part) switch
        {
            (MarkedText text, MarkedText piece) => JinjaMethods.Find(text.Text, piece.Text) >= 0,
            (Dictionary<string, object?> map, MarkedText key) => map.ContainsKey(key.Text),
            (List<object?> list, _) => list.Exists(i => AreEqual(i, part)),
            (JinjaUndefined, _) => false,
            _ => throw new JinjaException($"cannot look for {DescribeKind(part)} in {DescribeKind(whole)}"),
        };

    private static int Compare(object? a, object? b) =>
        (a, b) switch
        {
            (MarkedText x, MarkedText y) => string.CompareOrdinal(x.Text, y.Text),
            _ => ToNumber(a) is { } m && ToNumber(b) is { } n
                ? m.CompareTo(n)
                : throw new JinjaException($"cannot compare {DescribeKind(a)} and {DescribeKind(b)}"),
        };

    private static int? ResolveIndex(long index, int count) =>
        (index < 0 ? index + count : index) is >= 0 and var at && at < count ? (int)at : null;

    // As Python prints it.
    private static string Format(object? value) =>
        value switch
        {
            null => "None",
            bool b => b ? "True" : "False",
            long or double or BigInteger => FormatNumber(value),
            _ => throw new JinjaException($"cannot print {DescribeKind(value)}"),
        };

    /// <summary>A number as Python prints it: the shortest digits that give it back, with an exponent from 1e16 and below 1e-4.</summary>
    public static string FormatNumber(object value) =>
        value is double number ? PythonNumber.Format(number) : ((IFormattable)value).ToString(null, CultureInfo.InvariantCulture);

    // As Python's repr writes it.
    private static string FormatQuoted(object? value)
    {
        JinjaWork.Step();
        return value switch
        {
            MarkedText t when t.Text.Contains('\'', StringComparison.Ordinal) && !t.Text.Contains('"', StringComparison.Ordinal) =>
                $"\"{Escape(t.Text)}\"",
            MarkedText t => $"'{Escape(t.Text).Replace("'", "\\'", StringComparison.Ordinal)}'",
            List<object?> l => "[" + string.Join(", ", l.Select(FormatCounted)) + "]",
            Dictionary<string, object?> m => "{"
                + string.Join(", ", m.Select(p => $"{FormatCounted(MarkedText.Of(p.Key))}: {FormatCounted(p.Value)}"))
                + "}",
            _ => Format(value),
        };
    }

    // Each level of a nested value writes the levels in it once more.
    private static string FormatCounted(object? value)
    {
        var text = FormatQuoted(value);
        JinjaWork.SpendText(text.Length);
        return text;
    }

    // What Python does not print: control, format, private and unassigned characters, and white space other than the space.
    private static string Escape(string text)
    {
        var escaped = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
        {
            escaped.Append(
                rune.Value switch
                {
                    '\\' => "\\\\",
                    '\n' => "\\n",
                    '\t' => "\\t",
                    '\r' => "\\r",
                    ' ' => " ",
                    _ when IsPrinted(Rune.GetUnicodeCategory(rune)) => rune.ToString(),
                    < 0x100 => string.Create(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}"),
                    < 0x10000 => string.Create(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}"),
                    _ => string.Create(CultureInfo.InvariantCulture, $"\\U{rune.Value:x8}"),
                }
            );
        }
        return escaped.ToString();
    }

    private static bool IsPrinted(UnicodeCategory category) =>
        category
            is not (
                UnicodeCategory.Control
                or UnicodeCategory.Format
                or UnicodeCategory.Surrogate
                or UnicodeCategory.PrivateUse
                or UnicodeCategory.OtherNotAssigned
                or UnicodeCategory.LineSeparator
                or UnicodeCategory.ParagraphSeparator
                or UnicodeCategory.SpaceSeparator
            );
}
