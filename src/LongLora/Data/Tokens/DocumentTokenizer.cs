using System.Buffers;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Tokenizes documents of any length with constant memory: a long text is encoded in chunks, and the ids of all chunks together are those
/// of the whole text.
/// <para>
/// A text is split only where both sides give the same tokens alone as together. This is tested on the text around the split. The best
/// positions are single line ends between two visible characters, because no pre-tokenizer of the supported families and no SentencePiece
/// piece crosses them. Next come spaces between words, and then positions where letters, digits, white space, and signs meet, which text
/// without spaces has too. What a tokenizer writes before every text (Llama 2's space) is kept out of later chunks: each chunk is encoded
/// with the character before it, and the ids of that character are removed again.
/// </para>
/// </summary>
internal sealed class DocumentTokenizer
{
    private const int Window = 128;
    private const int Attempts = 16;

    private readonly ITokenizer _tokenizer;
    private readonly TokenFrame _frame;
    private readonly int _chunkLength;

    /// <summary>Makes one for a tokenizer. It is thread-safe.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="chunkLength">The longest text, in characters, that is encoded at once.</param>
    public DocumentTokenizer(ITokenizer tokenizer, int chunkLength = 1 << 18)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(chunkLength, 4 * Window);
        (_tokenizer, _chunkLength) = (tokenizer, chunkLength);
        _frame = TokenFrame.Find(tokenizer);
    }

    /// <summary>The ids of one document, chunk by chunk. An empty text gives one empty chunk.</summary>
    public IEnumerable<IReadOnlyList<int>> Encode(TextReader text)
    {
        var rented = ArrayPool<char>.Shared.Rent(_chunkLength);
        try
        {
            var buffer = rented.AsMemory(0, _chunkLength);
            int guard = 0,
                filled = 0;
            for (var begins = true; ; begins = false)
            {
                filled += ReadBlock(text, buffer.Span[filled..]);
                // A surrogate pair would not fit into less than two free characters, so this also ends a block.
                var ends = filled < _chunkLength - 1;
                var cut = ends ? filled : FindCut(buffer.Span[..filled], guard);
                var ids = EncodeChunk(buffer.Span[..cut], guard);
                yield return begins && filled == 0 ? [] : [.. begins ? _frame.Before : [], .. ids, .. ends ? _frame.After : []];
                if (ends)
                    yield break;
                guard = CountGuard(buffer.Span, cut);
                buffer.Span[(cut - guard)..filled].CopyTo(buffer.Span);
                filled -= cut - guard;
            }
        }
        finally
        {
            ArrayPool<char>.Shared.Return(rented);
        }
    }

    private static int ReadBlock(TextReader text, Span<char> buffer)
    {
        var filled = 0;
        while (buffer.Length - filled >= 2 && text.Read(buffer[filled..]) is > 0 and var read)
            filled += read;
        return filled;
    }

    // The ids of text[guard..] as they are after text[..guard].
    private IReadOnlyList<int> EncodeChunk(ReadOnlySpan<char> text, int guard) =>
        guard == 0 ? _tokenizer.Encode(text) : EncodeAfter(text, guard) ?? _tokenizer.Encode(text[guard..]);

    private int[]? EncodeAfter(ReadOnlySpan<char> text, int guard)
    {
        var head = _tokenizer.Encode(text[..guard]);
        var all = _tokenizer.Encode(text);
        return all.Take(head.Count).SequenceEqual(head) ? [.. all.Skip(head.Count)] : null;
    }

    private int FindCut(ReadOnlySpan<char> text, int guard)
    {
        var last = text.Length - Window;
        var first = Math.Max(guard + 1, text.Length / 2);
        ReadOnlySpan<Func<ReadOnlySpan<char>, int, bool>> places = [IsAfterLineEnd, IsBeforeSpace, IsBetweenKinds, IsBetweenCharacters];
        foreach (var isPlace in places)
        {
            var left = Attempts;
            for (var cut = last; cut >= first && left > 0; cut--)
            {
                if (!isPlace(text, cut))
                    continue;
                left--;
                if (PartsEqualWhole(text, cut))
                    return cut;
            }
        }
        // No position works, as in a megabyte of one repeated letter. The tokens at the seam may then differ from those of the whole text.
        return IsBetweenCharacters(text, last) ? last : last - 1;
    }

    private bool PartsEqualWhole(ReadOnlySpan<char> text, int cut)
    {
        var from = Math.Max(0, cut - Window);
        var to = cut + Window;
        if (char.IsLowSurrogate(text[from]))
            from++;
        if (char.IsHighSurrogate(text[to - 1]))
            to--;
        var guard = CountGuard(text, cut);
        return EncodeAfter(text[(cut - guard)..to], guard) is { } right
            && _tokenizer.Encode(text[from..to]).SequenceEqual(_tokenizer.Encode(text[from..cut]).Concat(right));
    }

    private static int CountGuard(ReadOnlySpan<char> text, int cut) => char.IsLowSurrogate(text[cut - 1]) ? 2 : 1;

    private static bool IsAfterLineEnd(ReadOnlySpan<char> text, int cut) =>
        text[cut - 1] == '\n' && !char.IsWhiteSpace(text[cut - 2]) && !char.IsWhiteSpace(text[cut]);

    private static bool IsBeforeSpace(ReadOnlySpan<char> text, int cut) =>
        text[cut] == ' ' && !char.IsWhiteSpace(text[cut - 1]) && !char.IsWhiteSpace(text[cut + 1]);

    // Also in text without spaces between words, such as Chinese, and in tables and code: words there may be longer than all attempts.
    private static bool IsBetweenKinds(ReadOnlySpan<char> text, int cut) => KindOf(text[cut - 1]) != KindOf(text[cut]);

    private static int KindOf(char character) =>
        char.IsWhiteSpace(character) ? 0
        : char.IsLetter(character) ? 1
        : char.IsNumber(character) ? 2
        : char.IsSurrogate(character) ? 3
        : 4;

    private static bool IsBetweenCharacters(ReadOnlySpan<char> text, int cut) => !char.IsLowSurrogate(text[cut]);
}
