using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Tokenization;

/// <summary>What happens to the matches of a <see cref="SplitRule"/>, with the names of tokenizer.json.</summary>
internal enum SplitBehavior
{
    /// <summary>They are removed.</summary>
    Removed,

    /// <summary>Each match is a separate word.</summary>
    Isolated,

    /// <summary>Each match ends the word before it.</summary>
    MergedWithPrevious,

    /// <summary>Each match starts the word after it.</summary>
    MergedWithNext,

    /// <summary>Neighboring matches form one word.</summary>
    Contiguous,
}

/// <summary>Splits at the matches of a pattern. With <paramref name="Invert"/>, the text between the matches counts as the match.</summary>
internal sealed record SplitRule(Regex Pattern, SplitBehavior Behavior, bool Invert = false);

/// <summary>
/// Splits a text into words by the patterns of a tokenizer.json. .NET's patterns see UTF-16 units, but the published patterns mean code
/// points. So each character beyond U+FFFF is shown to the pattern as one stand-in of the same general category. For example, a
/// mathematical letter counts as a letter.
/// </summary>
internal sealed class WordSplitter(IReadOnlyList<SplitRule> rules)
{
    // One character of each general category that no published pattern names, in the order of UnicodeCategory.
    private const string StandIns =
        "\u0100\u0101\u01C5\u02B0\u01BB\u0300\u0903\u0488\u0660\u16EE\u00B2\u2003\u2028\u2029\u0080\u2060"
        + "\uFFFD\uE000\u203F\u2010\u0F3A\u0F3B\u2018\u2019\u00A1\u2200\u20A0\u02C2\u00A6\u0378";

    /// <summary>The words of <paramref name="text"/> in order, without what a rule removed.</summary>
    public List<(int Start, int End)> Split(ReadOnlySpan<char> text)
    {
        using var shown = new TextBuffer();
        var wide = Show(text, shown);
        var seen = wide is null ? text : shown.Text;
        List<(int Start, int End)> words = [(0, seen.Length)];
        foreach (var rule in rules)
        {
            var finer = new List<(int Start, int End)>(Math.Max(words.Count, seen.Length / 5));
            foreach (var (start, end) in words)
                Cut(seen[start..end], start, rule, finer);
            words = finer;
        }
        if (wide is not null)
            MapBack(words, wide);
        return words;
    }

    /// <summary>
    /// Writes what the patterns see. Returns the positions of the stand-ins; null if the text can be shown unchanged.
    /// </summary>
    private static List<int>? Show(ReadOnlySpan<char> text, TextBuffer shown)
    {
        var next = text.IndexOfAnyInRange('\uD800', '\uDFFF');
        if (next < 0)
            return null;
        List<int> wide = [];
        while (next >= 0)
        {
            shown.Append(text[..next]);
            text = text[next..];
            Rune.DecodeFromUtf16(text, out var rune, out var length);
            if (length == 2)
                wide.Add(shown.Length);
            shown.Append(length == 2 ? StandIns[(int)Rune.GetUnicodeCategory(rune)] : '\uFFFD');
            text = text[length..];
            next = text.IndexOfAnyInRange('\uD800', '\uDFFF');
        }
        shown.Append(text);
        return wide;
    }

    /// <summary>Converts positions in the shown text to positions in the text: every stand-in before them counts twice.</summary>
    private static void MapBack(List<(int Start, int End)> words, List<int> wide)
    {
        var passed = 0;
        for (var i = 0; i < words.Count; i++)
        {
            var (start, end) = words[i];
            start += Passed(start);
            end += Passed(end);
            words[i] = (start, end);
        }

        int Passed(int position)
        {
            while (passed < wide.Count && wide[passed] < position)
                passed++;
            return passed;
        }
    }

    private static void Cut(ReadOnlySpan<char> text, int offset, SplitRule rule, List<(int Start, int End)> words)
    {
        var (end, first, previousMatched) = (0, words.Count, false);
        foreach (var match in rule.Pattern.EnumerateMatches(text))
        {
            if (match.Length == 0)
                continue;
            if (match.Index > end)
                Add(end, match.Index, rule.Invert);
            end = match.Index + match.Length;
            Add(match.Index, end, !rule.Invert);
        }
        if (end < text.Length)
            Add(end, text.Length, rule.Invert);

        void Add(int start, int stop, bool matched)
        {
            // Whether this part continues the word before it.
            var joins =
                words.Count > first
                && rule.Behavior switch
                {
                    SplitBehavior.MergedWithPrevious => matched && !previousMatched,
                    SplitBehavior.MergedWithNext => !matched && previousMatched,
                    SplitBehavior.Contiguous => matched == previousMatched,
                    _ => false,
                };
            previousMatched = matched;
            if (joins)
                words[^1] = (words[^1].Start, offset + stop);
            else if (!matched || rule.Behavior != SplitBehavior.Removed)
                words.Add((offset + start, offset + stop));
        }
    }
}
