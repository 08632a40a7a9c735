using System.Globalization;

namespace LongLora.Tokenization.Jinja;

/// <summary>The names that transformers gives to every chat template besides its messages, and the values of a loop.</summary>
internal static class JinjaEnvironment
{
    public static IReadOnlyDictionary<string, object?> Functions { get; } =
        new Dictionary<string, object?>
        {
            ["raise_exception"] = (JinjaCall)((a, _) => throw new JinjaException(JinjaValues.ToText(a[0]).Text)),
            ["namespace"] = (JinjaCall)((a, n) => new JinjaNamespace(MergeArguments(a, n))),
            ["dict"] = (JinjaCall)((a, n) => MergeArguments(a, n)),
            ["range"] = (JinjaCall)((a, _) => MakeRange([.. a.Select(JinjaValues.ToWhole)])),
            ["strftime_now"] = (JinjaCall)((a, _) => MarkedText.Of(FormatDate(JinjaValues.ToText(a[0]).Text, DateTime.Now))),
        };

    public static Dictionary<string, object?> MakeLoop(List<object?> items, int index) =>
        new()
        {
            ["index"] = index + 1L,
            ["index0"] = (long)index,
            ["revindex"] = (long)items.Count - index,
            ["revindex0"] = items.Count - index - 1L,
            ["first"] = index == 0,
            ["last"] = index == items.Count - 1,
            ["length"] = (long)items.Count,
            ["previtem"] = index > 0 ? items[index - 1] : new JinjaUndefined("previtem"),
            ["nextitem"] = index + 1 < items.Count ? items[index + 1] : new JinjaUndefined("nextitem"),
            ["cycle"] = (JinjaCall)((a, _) => a.Count > 0 ? a[index % a.Count] : throw new JinjaException("'loop.cycle' needs values")),
        };

    private static Dictionary<string, object?> MergeArguments(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        var all = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in arguments.OfType<Dictionary<string, object?>>().SelectMany(m => m).Concat(named))
            all[name] = value;
        return all;
    }

    private static List<object?> MakeRange(List<long> bounds)
    {
        var (from, to, step) = bounds switch
        {
            [var end] => (0L, end, 1L),
            [var start, var end] => (start, end, 1L),
            [var start, var end, var by] when by != 0 => (start, end, by),
            _ => throw new JinjaException("'range' needs one to three integers"),
        };
        const int limit = 100_000;
        var items = new List<object?>();
        for (Int128 i = from; step > 0 ? i < to : i > to; i += step)
        {
            JinjaWork.SpendItems(1);
            items.Add((long)i);
            if (items.Count > limit)
                throw new JinjaException($"'range' gives more than {limit} numbers");
        }
        return items;
    }

    private static string FormatDate(string format, DateTime now)
    {
        var text = new System.Text.StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }
            var code = format[++i];
            text.Append(
                code == '%'
                    ? "%"
                    : now.ToString(
                        code switch
                        {
                            'd' => "dd",
                            'm' => "MM",
                            'Y' => "yyyy",
                            'y' => "yy",
                            'b' => "MMM",
                            'B' => "MMMM",
                            'H' => "HH",
                            'M' => "mm",
                            'S' => "ss",
                            'A' => "dddd",
                            'a' => "ddd",
                            _ => throw new JinjaException($"strftime_now: %{code} is not supported"),
                        },
                        CultureInfo.InvariantCulture
                    )
            );
        }
        return text.ToString();
    }
}
