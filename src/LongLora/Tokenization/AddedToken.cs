using System.Buffers;
using System.Globalization;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>A token that is found in the text exactly as written, before the model's own steps run.</summary>
internal sealed record AddedToken(int Id, string Content)
{
    /// <summary>
    /// Whether it is a control token (<c>&lt;/s&gt;</c>): never recognized in ordinary text, and left out of decoded text.
    /// </summary>
    public bool Special { get; init; }

    /// <summary>Whether it is recognized only as a separate word.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Whether it absorbs white space before it.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Whether it absorbs white space after it.</summary>
    public bool RightStrip { get; init; }

    /// <summary>Whether it is searched for in the normalized text, in its own normalized form.</summary>
    public bool Normalized { get; init; }
}

/// <summary>Finds added tokens in a text: the leftmost one, and the longest at that position. Immutable and thread-safe.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly SearchValues<string> _all;
    private readonly Dictionary<char, (string Pattern, AddedToken Token)[]> _byFirst;

    private AddedTokenMatcher(List<(string Pattern, AddedToken Token)> patterns)
    {
        _all = SearchValues.Create(patterns.Select(p => p.Pattern).ToArray(), StringComparison.Ordinal);
        _byFirst = patterns.GroupBy(p => p.Pattern[0]).ToDictionary(g => g.Key, g => g.OrderByDescending(p => p.Pattern.Length).ToArray());
    }

    /// <summary>A matcher for these tokens; null if there are none.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="normalizer">Normalizes tokens like the text that is searched; null for none.</param>
    public static AddedTokenMatcher? Create(IEnumerable<AddedToken> tokens, TextStep? normalizer = null)
    {
        var patterns = tokens
            .Select(t => (Pattern: TextStep.Rewrite(normalizer, t.Content), Token: t))
            .Where(p => p.Pattern.Length > 0)
            .ToList();
        return patterns.Count == 0 ? null : new(patterns);
    }

    /// <summary>Finds the first token from <paramref name="search"/> on.</summary>
    /// <remarks>
    /// As in Hugging Face's library, white space that a token absorbs after it may be a token itself, which is found next. So the search
    /// goes on at <paramref name="search"/>, and the text that is not a token at <paramref name="end"/>.
    /// </remarks>
    /// <param name="text">The whole text.</param>
    /// <param name="search">Where the search starts; afterwards where it goes on.</param>
    /// <param name="done">What is written already. A token never absorbs white space before it.</param>
    /// <param name="start">Where the token starts, including the white space that it absorbs.</param>
    /// <param name="end">Where it ends.</param>
    /// <param name="id">Its id.</param>
    public bool TryFind(ReadOnlySpan<char> text, ref int search, int done, out int start, out int end, out int id)
    {
        while (search < text.Length)
        {
            var skip = text[search..].IndexOfAny(_all);
            if (skip < 0)
                break;
            start = search + skip;
            var (pattern, token) = FindLongest(text[start..]);
            search = end = start + pattern.Length;
            if (token.SingleWord && (EndsWithWord(text[..start]) || StartsWithWord(text[end..])))
                continue;
            if (token.LeftStrip)
                start = Math.Min(start, Math.Max(done, text[..start].TrimEnd().Length));
            if (token.RightStrip)
                end = text.Length - text[end..].TrimStart().Length;
            id = token.Id;
            return true;
        }
        search = text.Length;
        (start, end, id) = (text.Length, text.Length, -1);
        return false;
    }

    private (string Pattern, AddedToken Token) FindLongest(ReadOnlySpan<char> text)
    {
        foreach (var candidate in _byFirst[text[0]])
        {
            if (text.StartsWith(candidate.Pattern, StringComparison.Ordinal))
                return candidate;
        }
        throw new InvalidOperationException("the search found a token that is not in the list");
    }

    private static bool EndsWithWord(ReadOnlySpan<char> text) =>
        Rune.DecodeLastFromUtf16(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    private static bool StartsWithWord(ReadOnlySpan<char> text) =>
        Rune.DecodeFromUtf16(text, out var rune, out _) == OperationStatus.Done && IsWord(rune);

    // Unicode's \w, as in the regular expressions of Hugging Face's library: letters, marks, decimal digits, numbers that are alphabetic
    // (such as U+2167), connectors, and the two joiners.
    private static bool IsWord(Rune rune) =>
        rune.Value
            is 0x200C
                or 0x200D
                or (>= 0x24B6 and <= 0x24E9)
                or (>= 0x1F130 and <= 0x1F149)
                or (>= 0x1F150 and <= 0x1F169)
                or (>= 0x1F170 and <= 0x1F189)
        || Rune.GetUnicodeCategory(rune)
            is UnicodeCategory.UppercaseLetter
                or UnicodeCategory.LowercaseLetter
                or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter
                or UnicodeCategory.OtherLetter
                or UnicodeCategory.NonSpacingMark
                or UnicodeCategory.SpacingCombiningMark
                or UnicodeCategory.EnclosingMark
                or UnicodeCategory.DecimalDigitNumber
                or UnicodeCategory.LetterNumber
                or UnicodeCategory.ConnectorPunctuation;
}
