namespace LongLora.Tokenization.Jinja;

/// <summary>The methods of Python's strings and mappings that chat templates call; null for an unknown name.</summary>
internal static class JinjaMethods
{
    // What Python's str.strip() removes without arguments.
    internal const string WhiteSpace =
        " \t\n\r\v\f\u001c\u001d\u001e\u001f\u0085\u00a0\u1680"
        + "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000";

    public static JinjaCall? FindForText(MarkedText text, string name) =>
        name switch
        {
            "strip" => (a, _) => text.TrimStart(ReadCharacters(a)).TrimEnd(ReadCharacters(a)),
            "lstrip" => (a, _) => text.TrimStart(ReadCharacters(a)),
            "rstrip" => (a, _) => text.TrimEnd(ReadCharacters(a)),
            "upper" => (_, _) => text.With(text.Text.ToUpperInvariant()),
            "lower" => (_, _) => text.With(text.Text.ToLowerInvariant()),
            "title" => (_, _) => text.With(ToTitleCase(text.Text)),
            "capitalize" => (_, _) => text.With(Capitalize(text.Text)),
            "startswith" => (a, _) => Any(a[0]).Exists(p => text.Text.StartsWith(p, StringComparison.Ordinal)),
            "endswith" => (a, _) => Any(a[0]).Exists(p => text.Text.EndsWith(p, StringComparison.Ordinal)),
            "split" => (a, _) =>
                (
                    a.Count == 0 || a[0] is null
                        ? SplitWords(text)
                        : text.Split(ReadSeparator(a[0]), a.Count > 1 ? (int)JinjaValues.ToWhole(a[1]) : int.MaxValue)
                ).ConvertAll(object? (p) => p),
            "replace" => (a, _) => MarkedText.Join(text.Split(ReadSeparator(a[0])), JinjaValues.ToText(a[1])),
            "find" => (a, _) => Find(text.Text, JinjaValues.ToText(a[0]).Text),
            "isdigit" => (_, _) => text.Length > 0 && text.Text.All(char.IsDigit),
            "join" => (a, _) => MarkedText.Join(JinjaValues.ToItems(a[0]).Select(JinjaValues.ToText), text),
            _ => null,
        };

    public static JinjaCall? FindForMap(Dictionary<string, object?> map, string name) =>
        name switch
        {
            "items" => (_, _) => MakePairs(map),
            "keys" => (_, _) => JinjaValues.ToItems(map),
            "values" => (_, _) => map.Values.ToList(),
            "get" => (a, _) =>
                map.TryGetValue(JinjaValues.ToText(a[0]).Text, out var value) ? value
                : a.Count > 1 ? a[1]
                : null,
            _ => null,
        };

    internal static List<object?> MakePairs(Dictionary<string, object?> map)
    {
        JinjaWork.SpendItems(map.Count);
        return [.. map.Select(object? (p) => new List<object?> { MarkedText.Of(p.Key), p.Value })];
    }

    internal static string Capitalize(string text) =>
        text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    internal static string ToTitleCase(string text) =>
        string.Concat(text.Select((c, i) => i == 0 || !char.IsLetter(text[i - 1]) ? char.ToUpperInvariant(c) : char.ToLowerInvariant(c)));

    internal static long Find(string text, string part)
    {
        JinjaWork.SpendSearch(text.Length, part.Length);
        return text.IndexOf(part, StringComparison.Ordinal);
    }

    private static string ReadCharacters(IReadOnlyList<object?> arguments) =>
        arguments.Count == 0 || arguments[0] is null ? WhiteSpace : JinjaValues.ToText(arguments[0]).Text;

    private static string ReadSeparator(object? value) =>
        JinjaValues.ToText(value).Text is { Length: > 0 } text
            ? text
            : throw new JinjaException("cannot split a string at an empty " + "string");

    private static List<string> Any(object? value) =>
        value is List<object?> list ? list.ConvertAll(v => JinjaValues.ToText(v).Text) : [JinjaValues.ToText(value).Text];

    private static List<MarkedText> SplitWords(MarkedText text)
    {
        var words = new List<MarkedText>();
        for (var at = 0; at < text.Length; )
        {
            var end = at;
            while (end < text.Length && !WhiteSpace.Contains(text.Text[end], StringComparison.Ordinal))
                end++;
            if (end > at)
            {
                JinjaWork.SpendItems(1);
                words.Add(text.Slice(at, end - at));
            }
            at = end + 1;
        }
        return words;
    }
}
