using System.Globalization;

namespace LongLora.Tokenization.Jinja;

/// <summary>The filters and tests that chat templates use.</summary>
internal static class JinjaFilters
{
    /// <summary>A filter by name, or null. The value is the first argument.</summary>
    public static JinjaCall? Find(string name) =>
        name switch
        {
            "trim" => (a, _) => CallMethod(a[0], "strip", [.. a.Skip(1)]),
            "upper" or "lower" or "title" or "capitalize" => (a, _) => CallMethod(a[0], name, []),
            "replace" => (a, _) => CallMethod(a[0], name, [.. a.Skip(1)]),
            "length" or "count" => (a, _) => MeasureLength(a[0]),
            "tojson" => ToJson,
            "string" => (a, _) => JinjaValues.ToText(a[0]),
            "safe" => (a, _) => a[0],
            "int" => (a, n) => ToInteger(a[0], GetOption(a, n, 1, "default") ?? 0L),
            "float" => (a, n) => ToReal(a[0], GetOption(a, n, 1, "default") ?? 0.0),
            "abs" => (a, _) => a[0] is double d ? (object)Math.Abs(d) : Math.Abs(JinjaValues.ToWhole(a[0])),
            "default" or "d" => (a, n) =>
                a[0] is JinjaUndefined || (JinjaValues.IsTrue(GetOption(a, n, 2, "boolean")) && !JinjaValues.IsTrue(a[0]))
                    ? GetOption(a, n, 1, "default_value") ?? MarkedText.Empty
                    : a[0],
            "first" => (a, _) => JinjaValues.ToItems(a[0]) is [var first, ..] ? first : new JinjaUndefined("first"),
            "last" => (a, _) => JinjaValues.ToItems(a[0]) is [.., var last] ? last : new JinjaUndefined("last"),
            "list" => (a, _) => new List<object?>(JinjaValues.ToItems(a[0])),
            "reverse" => (a, _) =>
                a[0] is MarkedText ? JinjaValues.Slice(a[0], null, null, -1L) : JinjaValues.ToItems(a[0]).AsEnumerable().Reverse().ToList(),
            "unique" => (a, _) => RemoveDuplicates(JinjaValues.ToItems(a[0])),
            "items" => (a, _) =>
                a[0] is Dictionary<string, object?> map ? JinjaMethods.MakePairs(map)
                : a[0] is JinjaUndefined ? new List<object?>()
                : throw new JinjaException("'items' needs a mapping"),
            "dictsort" => (a, _) =>
                a[0] is Dictionary<string, object?> map
                    ? JinjaMethods
                        .MakePairs(map)
                        .OrderBy(p => JinjaValues.ToText(((List<object?>)p!)[0]).Text, StringComparer.OrdinalIgnoreCase)
                        .ToList()
                    : throw new JinjaException("'dictsort' needs a mapping"),
            "join" => (a, n) =>
                MarkedText.Join(
                    MapAttribute(JinjaValues.ToItems(a[0]), GetOption(a, n, 2, "attribute")).Select(JinjaValues.ToText),
                    JinjaValues.ToText(GetOption(a, n, 1, "d") ?? MarkedText.Empty)
                ),
            "map" => Map,
            "select" => (a, _) => Select(a, byAttribute: false, keep: true),
            "reject" => (a, _) => Select(a, byAttribute: false, keep: false),
            "selectattr" => (a, _) => Select(a, byAttribute: true, keep: true),
            "rejectattr" => (a, _) => Select(a, byAttribute: true, keep: false),
            "indent" => Indent,
            _ => null,
        };

    /// <summary>A test by name, or null.</summary>
    public static Func<object?, IReadOnlyList<object?>, bool>? FindTest(string name) =>
        name switch
        {
            "defined" => (v, _) => v is not JinjaUndefined,
            "undefined" => (v, _) => v is JinjaUndefined,
            "none" => (v, _) => v is null,
            "string" => (v, _) => v is MarkedText,
            "mapping" => (v, _) => v is Dictionary<string, object?>,
            "sequence" or "iterable" => (v, _) => v is MarkedText or List<object?> or Dictionary<string, object?>,
            "number" => (v, _) => v is long or double or bool or System.Numerics.BigInteger,
            "integer" => (v, _) => v is long or System.Numerics.BigInteger,
            "float" => (v, _) => v is double,
            "boolean" => (v, _) => v is bool,
            "true" => (v, _) => v is true,
            "false" => (v, _) => v is false,
            "callable" => (v, _) => v is JinjaCall,
            "equalto" or "eq" or "==" => (v, a) => JinjaValues.AreEqual(v, a[0]),
            "ne" => (v, a) => !JinjaValues.AreEqual(v, a[0]),
            "sameas" => (v, a) => (v, a[0]) is (bool x, bool y) ? x == y : v is null && a[0] is null,
            "gt" or "greaterthan" => (v, a) => JinjaValues.Compare(">", v, a[0]),
            "ge" => (v, a) => JinjaValues.Compare(">=", v, a[0]),
            "lt" or "lessthan" => (v, a) => JinjaValues.Compare("<", v, a[0]),
            "le" => (v, a) => JinjaValues.Compare("<=", v, a[0]),
            "in" => (v, a) => JinjaValues.Compare("in", v, a[0]),
            "even" => (v, _) => JinjaValues.ToWhole(v) % 2 == 0,
            "odd" => (v, _) => JinjaValues.ToWhole(v) % 2 != 0,
            "divisibleby" => (v, a) =>
                JinjaValues.ToWhole(a[0]) switch
                {
                    0 => throw new JinjaException("division by zero"),
                    -1 => true, // the smallest number divided by it is none
                    var divisor => JinjaValues.ToWhole(v) % divisor == 0,
                },
            _ => null,
        };

    private static object? GetOption(
        IReadOnlyList<object?> arguments,
        IReadOnlyDictionary<string, object?> named,
        int place,
        string name
    ) =>
        named.TryGetValue(name, out var value) ? value
        : place < arguments.Count ? arguments[place]
        : null;

    // The options of transformers: tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False).
    private static MarkedText ToJson(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        if (named.Keys.FirstOrDefault(k => k is not ("ensure_ascii" or "indent" or "separators" or "sort_keys")) is { } unknown)
            throw new JinjaException($"'tojson' has no option '{unknown}'");
        var separators = GetOption(arguments, named, 3, "separators") is { } pair
            ? JinjaValues.ToItems(pair).ConvertAll(s => JinjaValues.ToText(s).Text)
            : null;
        if (separators is { Count: not 2 })
            throw new JinjaException("the separators of 'tojson' must be two strings");
        var style = new JinjaJson
        {
            EscapesUnicode = JinjaValues.IsTrue(GetOption(arguments, named, 1, "ensure_ascii")),
            Indent = GetOption(arguments, named, 2, "indent") switch
            {
                null => null,
                MarkedText text => text.Text,
                var spaces => JinjaWork.MakeBlanks(JinjaValues.ToWhole(spaces)),
            },
            ItemSeparator = separators?[0],
            KeySeparator = separators?[1] ?? ": ",
            SortsKeys = JinjaValues.IsTrue(GetOption(arguments, named, 4, "sort_keys")),
        };
        return MarkedText.Of(style.Write(arguments[0]), JinjaValues.FindOwner(arguments[0]));
    }

    private static object? CallMethod(object? value, string name, List<object?> arguments) =>
        JinjaMethods.FindForText(JinjaValues.ToText(value), name)!(arguments, new Dictionary<string, object?>());

    private static long MeasureLength(object? value) =>
        value switch
        {
            MarkedText text => text.Text.EnumerateRunes().Count(),
            JinjaUndefined => 0,
            _ => JinjaValues.ToItems(value).Count,
        };

    private static object? ToInteger(object? value, object? otherwise) =>
        value switch
        {
            double d => (long)d,
            long or bool => JinjaValues.ToWhole(value),
            MarkedText t when long.TryParse(t.Text, NumberStyles.Integer, CultureInfo.InvariantCulture, out var n) => n,
            _ => otherwise,
        };

    private static object? ToReal(object? value, object? otherwise) =>
        value switch
        {
            double => value,
            long or bool => (double)JinjaValues.ToWhole(value),
            MarkedText t when double.TryParse(t.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out var d) => d,
            _ => otherwise,
        };

    private static List<object?> RemoveDuplicates(List<object?> items)
    {
        var kept = new List<object?>();
        kept.AddRange(items.Where(item => !kept.Exists(k => JinjaValues.AreEqual(k, item))));
        return kept;
    }

    private static IEnumerable<object?> MapAttribute(List<object?> items, object? attribute) =>
        attribute is null ? items : items.Select(i => FollowPath(i, JinjaValues.ToText(attribute).Text));

    private static object? FollowPath(object? value, string path) => path.Split('.').Aggregate(value, JinjaValues.GetAttribute);

    private static List<object?> Map(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        var items = JinjaValues.ToItems(arguments[0]);
        if (named.TryGetValue("attribute", out var attribute))
            return [.. MapAttribute(items, attribute)];
        var name = JinjaValues
            .ToText(arguments.Count > 1 ? arguments[1] : throw new JinjaException("'map' needs a filter or an attribute"))
            .Text;
        var filter = Find(name) ?? throw new JinjaException($"the filter '{name}' is not supported");
        return items.ConvertAll(i => filter([i, .. arguments.Skip(2)], named));
    }

    private static List<object?> Select(IReadOnlyList<object?> arguments, bool byAttribute, bool keep)
    {
        var at = byAttribute ? 2 : 1;
        var attribute = byAttribute ? JinjaValues.ToText(arguments[1]).Text : null;
        Func<object?, IReadOnlyList<object?>, bool> test = (v, _) => JinjaValues.IsTrue(v);
        if (arguments.Count > at)
        {
            var name = JinjaValues.ToText(arguments[at]).Text;
            test = FindTest(name) ?? throw new JinjaException($"the test '{name}' is not supported");
        }
        List<object?> further = [.. arguments.Skip(at + 1)];
        return [.. JinjaValues.ToItems(arguments[0]).Where(i => test(attribute is null ? i : FollowPath(i, attribute), further) == keep)];
    }

    private static MarkedText Indent(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        var width = GetOption(arguments, named, 1, "width");
        var blanks = width is MarkedText text ? text.Text : JinjaWork.MakeBlanks(JinjaValues.ToWhole(width ?? 4L));
        var first = JinjaValues.IsTrue(GetOption(arguments, named, 2, "first"));
        var blank = JinjaValues.IsTrue(GetOption(arguments, named, 3, "blank"));
        var lines = JinjaValues.ToText(arguments[0]).Split("\n");
        return MarkedText.Join(
            lines.Select((line, i) => (i == 0 ? first : blank || line.Length > 0) ? MarkedText.Join([MarkedText.Of(blanks), line]) : line),
            MarkedText.Of("\n")
        );
    }
}
