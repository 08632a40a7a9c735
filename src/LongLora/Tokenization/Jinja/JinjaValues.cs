using System.Globalization;
using System.Text;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// What Python does with the values that a chat template meets: null, bool, long, double, <see cref="MarkedText"/>,
/// <c>List&lt;object?&gt;</c>,
/// <c>Dictionary&lt;string, object?&gt;</c>, <see cref="JinjaNamespace"/>, <see cref="JinjaCall"/>, <see cref="JinjaUndefined"/>.
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
            MarkedText t => t.Length > 0,
            List<object?> l => l.Count > 0,
            Dictionary<string, object?> m => m.Count > 0,
            _ => true,
        };

    /// <summary>The text of a value as it is printed.</summary>
    public static MarkedText Text(object? value) =>
        value as MarkedText
        ?? MarkedText.Of(
            value switch
            {
                JinjaUndefined => "",
                List<object?> or Dictionary<string, object?> => Written(value),
                _ => Plain(value),
            }
        );

    public static bool AreEqual(object? a, object? b) =>
        (a, b) switch
        {
            (null, null) or (JinjaUndefined, JinjaUndefined) => true,
            (MarkedText x, MarkedText y) => x.Text == y.Text,
            (List<object?> x, List<object?> y) => x.Count == y.Count && x.Zip(y).All(p => AreEqual(p.First, p.Second)),
            (Dictionary<string, object?> x, Dictionary<string, object?> y) => x.Count == y.Count
                && x.All(p => y.TryGetValue(p.Key, out var other) && AreEqual(p.Value, other)),
            _ => Number(a) is { } m && Number(b) is { } n ? m == n : ReferenceEquals(a, b),
        };

    public static bool Compare(string sign, object? a, object? b) =>
        sign switch
        {
            "==" => AreEqual(a, b),
            "!=" => !AreEqual(a, b),
            "in" => Contains(b, a),
            "not in" => !Contains(b, a),
            "<" => Order(a, b) < 0,
            ">" => Order(a, b) > 0,
            "<=" => Order(a, b) <= 0,
            _ => Order(a, b) >= 0,
        };

    public static object? Calculate(string sign, object? a, object? b)
    {
        if (sign == "~")
            return MarkedText.Join([Text(a), Text(b)]);
        if (a is MarkedText x && b is MarkedText y && sign == "+")
            return MarkedText.Join([x, y]);
        if (a is MarkedText repeated && b is long times && sign == "*")
            return MarkedText.Join(Enumerable.Repeat(repeated, (int)Math.Max(0, times)));
        if (a is List<object?> first && b is List<object?> second && sign == "+")
            return (List<object?>)[.. first, .. second];
        if (Number(a) is not { } m || Number(b) is not { } n)
            throw new JinjaException($"{Kind(a)} {sign} {Kind(b)} cannot be computed");
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
    public static object? Attribute(object? value, string name) =>
        value switch
        {
            Dictionary<string, object?> map when JinjaMethods.OfMap(map, name) is { } method => method,
            Dictionary<string, object?> map => map.TryGetValue(name, out var member) ? member : new JinjaUndefined(name),
            JinjaNamespace space => space.Values.TryGetValue(name, out var member) ? member : new JinjaUndefined(name),
            MarkedText text => JinjaMethods.OfText(text, name) ?? new JinjaUndefined(name) as object,
            List<object?> when long.TryParse(name, CultureInfo.InvariantCulture, out var place) => Index(value, place),
            JinjaUndefined u => throw new JinjaException($"'{u.Name}' is not defined, and '{name}' is asked of it"),
            _ => new JinjaUndefined(name),
        };

    /// <summary><c>value[index]</c>.</summary>
    public static object? Index(object? value, object? index) =>
        (value, index) switch
        {
            (Dictionary<string, object?> map, MarkedText key) => map.TryGetValue(key.Text, out var member)
                ? member
                : new JinjaUndefined(key.Text),
            (JinjaNamespace space, MarkedText key) => Attribute(space, key.Text),
            (List<object?> list, long place) => Place(place, list.Count) is { } at ? list[at] : new JinjaUndefined($"[{place}]"),
            (MarkedText text, long place) => Place(place, text.Length) is { } at ? text.Slice(at, 1) : new JinjaUndefined($"[{place}]"),
            (JinjaUndefined u, _) => throw new JinjaException($"'{u.Name}' is not defined, and a part of it is asked for"),
            _ => new JinjaUndefined(Text(index).Text),
        };

    /// <summary><c>value[start:stop:step]</c>.</summary>
    public static object? Slice(object? value, object? start, object? stop, object? step)
    {
        var length = value switch
        {
            MarkedText t => t.Length,
            List<object?> l => l.Count,
            JinjaUndefined u => throw new JinjaException($"'{u.Name}' is not defined, and a part of it is asked for"),
            _ => throw new JinjaException($"{Kind(value)} has no parts"),
        };
        var by = step is null ? 1 : Whole(step);
        if (by == 0)
            throw new JinjaException("the step of a slice is 0");
        long Bound(object? given, long standard) =>
            given is null
                ? standard
                : Math.Clamp(Whole(given) < 0 ? Whole(given) + length : Whole(given), by > 0 ? 0 : -1, by > 0 ? length : length - 1);
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

    /// <summary>What a loop goes over.</summary>
    public static List<object?> Items(object? value) =>
        value switch
        {
            List<object?> list => list,
            Dictionary<string, object?> map => [.. map.Keys.Select(k => MarkedText.Of(k))],
            MarkedText text => [.. Enumerable.Range(0, text.Length).Select(i => text.Slice(i, 1))],
            JinjaUndefined => [],
            _ => throw new JinjaException($"{Kind(value)} cannot be gone through"),
        };

    public static long Whole(object? value) =>
        value switch
        {
            long n => n,
            bool b => b ? 1 : 0,
            _ => throw new JinjaException($"a whole number is expected; seen {Kind(value)}"),
        };

    /// <summary>JSON as Python's <c>json.dumps(value, ensure_ascii=False, indent=indent)</c> writes it.</summary>
    public static string Json(object? value, long? indent, int depth = 0)
    {
        string Line(int level) => indent is null ? "" : "\n" + new string(' ', (int)indent * level);
        var comma = indent is null ? ", " : ",";
        return value switch
        {
            null => "null",
            bool b => b ? "true" : "false",
            MarkedText t => Quoted(t.Text),
            List<object?> { Count: 0 } => "[]",
            Dictionary<string, object?> { Count: 0 } => "{}",
            List<object?> list => "["
                + string.Join(comma, list.Select(i => Line(depth + 1) + Json(i, indent, depth + 1)))
                + Line(depth)
                + "]",
            Dictionary<string, object?> map => "{"
                + string.Join(comma, map.Select(p => $"{Line(depth + 1)}{Quoted(p.Key)}: {Json(p.Value, indent, depth + 1)}"))
                + Line(depth)
                + "}",
            long or double => Plain(value),
            _ => throw new JinjaException($"{Kind(value)} cannot be written as JSON"),
        };
    }

    /// <summary>The message that a value came from, or the template.</summary>
    public static short Owner(object? value) =>
        value switch
        {
            MarkedText t => t.AnyOwner,
            List<object?> l => l.Select(Owner).FirstOrDefault(o => o != MarkedText.Template),
            Dictionary<string, object?> m => m.Values.Select(Owner).FirstOrDefault(o => o != MarkedText.Template),
            _ => MarkedText.Template,
        };

    public static string Kind(object? value) =>
        value switch
        {
            null => "none",
            bool => "a truth value",
            long or double => "a number",
            MarkedText => "a text",
            List<object?> => "a list",
            Dictionary<string, object?> => "a mapping",
            JinjaUndefined u => $"'{u.Name}', which is not defined,",
            JinjaNamespace => "a namespace",
            _ => "a function",
        };

    private static double? Number(object? value) =>
        value switch
        {
            long n => n,
            double d => d,
            bool b => b ? 1 : 0,
            _ => null,
        };

    private static bool Contains(object? whole, object? part) =>
        (whole, part) switch
        {
            (MarkedText text, MarkedText piece) => text.Text.Contains(piece.Text, StringComparison.Ordinal),
            (Dictionary<string, object?> map, MarkedText key) => map.ContainsKey(key.Text),
            (List<object?> list, _) => list.Exists(i => AreEqual(i, part)),
            (JinjaUndefined, _) => false,
            _ => throw new JinjaException($"{Kind(part)} cannot be looked for in {Kind(whole)}"),
        };

    private static int Order(object? a, object? b) =>
        (a, b) switch
        {
            (MarkedText x, MarkedText y) => string.CompareOrdinal(x.Text, y.Text),
            _ => Number(a) is { } m && Number(b) is { } n
                ? m.CompareTo(n)
                : throw new JinjaException($"{Kind(a)} and {Kind(b)} cannot be compared"),
        };

    private static int? Place(long index, int count) =>
        (index < 0 ? index + count : index) is >= 0 and var at && at < count ? (int)at : null;

    // As Python prints it.
    private static string Plain(object? value) =>
        value switch
        {
            null => "None",
            bool b => b ? "True" : "False",
            long n => n.ToString(CultureInfo.InvariantCulture),
            double d => d == Math.Floor(d) && Math.Abs(d) < 1e16
                ? d.ToString("F1", CultureInfo.InvariantCulture)
                : d.ToString("R", CultureInfo.InvariantCulture),
            _ => throw new JinjaException($"{Kind(value)} cannot be printed"),
        };

    // As Python's repr writes it.
    private static string Written(object? value) =>
        value switch
        {
            MarkedText t when t.Text.Contains('\'', StringComparison.Ordinal) && !t.Text.Contains('"', StringComparison.Ordinal) =>
                $"\"{Escaped(t.Text)}\"",
            MarkedText t => $"'{Escaped(t.Text).Replace("'", "\\'", StringComparison.Ordinal)}'",
            List<object?> l => "[" + string.Join(", ", l.Select(Written)) + "]",
            Dictionary<string, object?> m => "{"
                + string.Join(", ", m.Select(p => $"{Written(MarkedText.Of(p.Key))}: {Written(p.Value)}"))
                + "}",
            _ => Plain(value),
        };

    private static string Escaped(string text) =>
        text.Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace("\n", "\\n", StringComparison.Ordinal)
            .Replace("\t", "\\t", StringComparison.Ordinal)
            .Replace("\r", "\\r", StringComparison.Ordinal);

    private static string Quoted(string text)
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
                    < ' ' => string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                    _ => c.ToString(),
                }
            );
        }
        return json.Append('"').ToString();
    }
}
