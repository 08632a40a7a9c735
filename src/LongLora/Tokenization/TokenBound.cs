using System.Buffers;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>How many tokens a text has at least, known without encoding it: its length divided by that of the longest token.</summary>
internal sealed class TokenBound
{
    // Of no language, so that no vocabulary has a token for it.
    private const string Rare = "\uE0F3";

    private readonly SearchValues<char> _counted;
    private readonly int _mostCounted,
        _mostBytes;

    /// <summary>Looks at the tokens of a vocabulary.</summary>
    public TokenBound(TextTokenizer tokenizer)
    {
        var counted = Enumerable
            .Range(0, 128)
            .Select(c => (char)c)
            .Where(c => char.IsAsciiLetterOrDigit(c) && IsKept(tokenizer, c.ToString()))
            .ToArray();
        _counted = SearchValues.Create(counted);
        KnowsBytes = IsKept(tokenizer, Rare);
        for (var id = 0; id < tokenizer.VocabularySize; id++)
        {
            var bytes = tokenizer.GetBytes(id);
            var count = 0;
            foreach (var b in bytes)
                count += char.IsAsciiLetterOrDigit((char)b) ? 1 : 0;
            (_mostCounted, _mostBytes) = (Math.Max(_mostCounted, count), Math.Max(_mostBytes, bytes.Length));
        }
    }

    /// <summary>Whether the tokenizer writes what it does not know as bytes. Else nothing is known, and every count is 0.</summary>
    public bool KnowsBytes { get; }

    /// <summary>
    /// For a text as it was given. Only ASCII letters and digits count, each of which was tried once: a tokenizer may shrink or leave out
    /// white space, marks and other scripts. One before a mark does not count either, because the two may become one character.
    /// </summary>
    public int CountAtLeast(ReadOnlySpan<char> text)
    {
        if (_mostCounted == 0 || !KnowsBytes)
            return 0;
        var count = 0L;
        for (var at = text.IndexOfAny(_counted); at >= 0; at = text.IndexOfAny(_counted))
        {
            text = text[at..];
            var run = text.IndexOfAnyExcept(_counted) is >= 0 and var end ? end : text.Length;
            text = text[run..];
            count += text.IsEmpty || char.IsAscii(text[0]) ? run : run - 1;
        }
        return Divide(count, _mostCounted);
    }

    /// <summary>
    /// For a text after all steps that rewrite it. Every byte counts; with unknown characters, which become one token together, none does.
    /// </summary>
    public int CountWordsAtLeast(ReadOnlySpan<char> text) => KnowsBytes ? Divide(Encoding.UTF8.GetByteCount(text), _mostBytes) : 0;

    private static int Divide(long length, int most) => (int)((length + most - 1) / most);

    private static bool IsKept(TextTokenizer tokenizer, string text) =>
        tokenizer.Decode([.. tokenizer.Encode(text)], skipSpecial: false).Trim() == text;
}
