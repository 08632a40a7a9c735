using System.Globalization;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>A set of Unicode characters without surrogates, as ranges in order that do not touch.</summary>
internal sealed class CharacterSet
{
    private const int Last = 0x10FFFF;

    private CharacterSet(IEnumerable<(int First, int Last)> ranges)
    {
        var merged = new List<(int First, int Last)>();
        foreach (var (first, last) in ranges.Where(r => r.First <= r.Last).OrderBy(r => r.First))
        {
            if (merged.Count > 0 && first <= merged[^1].Last + 1)
                merged[^1] = (merged[^1].First, Math.Max(merged[^1].Last, last));
            else
                merged.Add((first, last));
        }
        Ranges = merged;
    }

    internal IReadOnlyList<(int First, int Last)> Ranges { get; }

    internal bool IsEmpty => Ranges.Count == 0;

    internal static CharacterSet All { get; } = Of((0, 0xD7FF), (0xE000, Last));

    internal static CharacterSet Of(params IEnumerable<(int First, int Last)> ranges) => new(ranges);

    internal static CharacterSet Of(int character) => Of((character, character));

    internal CharacterSet Or(CharacterSet other) => Of(Ranges.Concat(other.Ranges));

    internal CharacterSet And(CharacterSet other) => Not().Or(other.Not()).Not();

    internal CharacterSet Not()
    {
        var (gaps, next) = (new List<(int, int)>(), 0);
        foreach (var (first, last) in Ranges)
        {
            gaps.Add((next, first - 1));
            next = last + 1;
        }
        gaps.Add((next, Last));
        // Surrogates are no characters.
        return Of(gaps.SelectMany(g => ((int, int)[])[(g.Item1, Math.Min(g.Item2, 0xD7FF)), (Math.Max(g.Item1, 0xE000), g.Item2)]));
    }

    internal CharacterSet From(int first) => Of(Ranges.Select(r => (Math.Max(r.First, first), r.Last)));

    /// <summary>The characters of general categories, such as <c>L</c> or <c>Lu</c>; null if there is no such category.</summary>
    internal static CharacterSet? Category(string name)
    {
        var (found, isKnown) = (new List<(int, int)>(), false);
        foreach (var category in Enum.GetValues<UnicodeCategory>())
            isKnown |= Short(category).StartsWith(name, StringComparison.Ordinal);
        if (!isKnown || name.Length is 0 or > 2)
            return null;
        for (var c = 0; c <= Last; c++)
        {
            if (
                c is not (>= 0xD800 and <= 0xDFFF)
                && Short(CharUnicodeInfo.GetUnicodeCategory(c)).StartsWith(name, StringComparison.Ordinal)
            )
                found.Add((c, c));
        }
        return Of(found);
    }

    private static string Short(UnicodeCategory category) =>
        category switch
        {
            UnicodeCategory.UppercaseLetter => "Lu",
            UnicodeCategory.LowercaseLetter => "Ll",
            UnicodeCategory.TitlecaseLetter => "Lt",
            UnicodeCategory.ModifierLetter => "Lm",
            UnicodeCategory.OtherLetter => "Lo",
            UnicodeCategory.NonSpacingMark => "Mn",
            UnicodeCategory.SpacingCombiningMark => "Mc",
            UnicodeCategory.EnclosingMark => "Me",
            UnicodeCategory.DecimalDigitNumber => "Nd",
            UnicodeCategory.LetterNumber => "Nl",
            UnicodeCategory.OtherNumber => "No",
            UnicodeCategory.SpaceSeparator => "Zs",
            UnicodeCategory.LineSeparator => "Zl",
            UnicodeCategory.ParagraphSeparator => "Zp",
            UnicodeCategory.ConnectorPunctuation => "Pc",
            UnicodeCategory.DashPunctuation => "Pd",
            UnicodeCategory.OpenPunctuation => "Ps",
            UnicodeCategory.ClosePunctuation => "Pe",
            UnicodeCategory.InitialQuotePunctuation => "Pi",
            UnicodeCategory.FinalQuotePunctuation => "Pf",
            UnicodeCategory.OtherPunctuation => "Po",
            UnicodeCategory.MathSymbol => "Sm",
            UnicodeCategory.CurrencySymbol => "Sc",
            UnicodeCategory.ModifierSymbol => "Sk",
            UnicodeCategory.OtherSymbol => "So",
            UnicodeCategory.Control => "Cc",
            UnicodeCategory.Format => "Cf",
            UnicodeCategory.Surrogate => "Cs",
            UnicodeCategory.PrivateUse => "Co",
            _ => "Cn",
        };

    /// <summary>Its characters as UTF-8.</summary>
    internal GrammarExpression ToUtf8() => Any([.. Ranges.SelectMany(r => Utf8(r.First, r.Last))]);

    /// <summary>Its characters as they stand in a JSON string in its plainest form: quotes, backslashes and controls are escaped.</summary>
    internal GrammarExpression ToJson()
    {
        var escaped = new List<GrammarExpression>();
        var bare = this;
        foreach (var character in Enumerable.Range(0, 0x20).Append('"').Append('\\').Where(Contains))
        {
            bare = bare.And(Of(character).Not());
            escaped.Add(Text(JsonText.Write(((char)character).ToString())[1..^1]));
        }
        return Any([.. bare.Ranges.SelectMany(r => Utf8(r.First, r.Last)), .. escaped]);
    }

    internal bool Contains(int character) => Ranges.Any(r => character >= r.First && character <= r.Last);

    // Cut where the number of bytes changes, then where all bytes but the first would not have their whole range.
    private static IEnumerable<GrammarExpression> Utf8(int first, int last)
    {
        foreach (var most in (int[])[0x7F, 0x7FF, 0xFFFF])
        {
            if (first <= most && most < last)
                return [.. Utf8(first, most), .. Utf8(most + 1, last)];
        }
        if (last <= 0x7F)
            return [Byte(first, last)];
        for (var bits = 6; bits <= 18; bits += 6)
        {
            var mask = (1 << bits) - 1;
            if ((first & ~mask) == (last & ~mask))
                continue;
            if ((first & mask) != 0)
                return [.. Utf8(first, first | mask), .. Utf8((first | mask) + 1, last)];
            if ((last & mask) != mask)
                return [.. Utf8(first, (last & ~mask) - 1), .. Utf8(last & ~mask, last)];
        }
        var (low, high) = (Encode(first), Encode(last));
        return [Join([.. low.Zip(high, (l, h) => Byte(l, h))])];
    }

    private static byte[] Encode(int character) => System.Text.Encoding.UTF8.GetBytes(char.ConvertFromUtf32(character));
}
