using System.Buffers.Binary;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>
/// SentencePiece's normalizer: its character map (such as NFKC, compiled to a table), white space, the space sign U+2581, and the space
/// that it writes before every text. User-defined symbols do not change.
/// </summary>
internal sealed class SentencePieceNormalizer(SentencePieceFile file, SymbolMatcher? userSymbols, bool prefixEverywhere, CharacterMap? map)
    : TextStep
{
    private readonly char _space = file.EscapeWhitespaces ? '\u2581' : ' ';

    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        if (file.RemoveExtraWhitespaces)
            text = DropLeadingSpaces(text);
        if (text.IsEmpty)
            return true;
        if (file.AddDummyPrefix && (atStart || prefixEverywhere))
            output.Append(_space);
        if (map is null && !file.RemoveExtraWhitespaces && userSymbols is null)
        {
            text.Replace(output.Extend(text.Length), ' ', _space);
            return true;
        }
        var afterSpace = file.RemoveExtraWhitespaces;
        while (!text.IsEmpty)
        {
            var piece = ReadNext(text, out var consumed);
            text = text[consumed..];
            if (afterSpace)
                piece = piece.TrimStart(' ');
            if (piece.IsEmpty)
                continue;
            piece.Replace(output.Extend(piece.Length), ' ', _space);
            afterSpace = file.RemoveExtraWhitespaces && piece[^1] == ' ';
        }
        while (file.RemoveExtraWhitespaces && output.Length > 0 && output[output.Length - 1] == _space)
            output.Truncate(output.Length - 1);
        return true;
    }

    private ReadOnlySpan<char> DropLeadingSpaces(ReadOnlySpan<char> text)
    {
        while (!text.IsEmpty && ReadNext(text, out var consumed) is " ")
            text = text[consumed..];
        return text;
    }

    /// <summary>What the start of the text becomes, and how many characters of it were used.</summary>
    private ReadOnlySpan<char> ReadNext(ReadOnlySpan<char> text, out int consumed)
    {
        if (userSymbols is not null && userSymbols.TryMatch(text, out consumed, out _))
            return text[..consumed];
        if (map is not null && map.TryMatch(text, out consumed, out var replacement))
            return replacement;
        Rune.DecodeFromUtf16(text, out var rune, out consumed);
        return rune == Rune.ReplacementChar ? "\uFFFD" : text[..consumed];
    }
}

/// <summary>
/// A <c>precompiled_charsmap</c>: the length of a double-array trie (Aoe 1989, in the layout of darts-clone), the trie over UTF-8 bytes,
/// and the replacements, each ending with a zero byte.
/// </summary>
internal sealed class CharacterMap
{
    private readonly uint[] _units;
    private readonly Dictionary<int, string> _replacements = [];

    /// <exception cref="FormatException">The table is damaged.</exception>
    public CharacterMap(ReadOnlySpan<byte> blob)
    {
        var length = blob.Length < 4 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(blob);
        if (length < 4 || length % 4 != 0 || length > blob.Length - 4)
            throw new FormatException($"the character map claims a trie of {length} bytes, but has only {blob.Length}");
        _units = new uint[length / 4];
        for (var i = 0; i < _units.Length; i++)
            _units[i] = BinaryPrimitives.ReadUInt32LittleEndian(blob[(4 + 4 * i)..]);
        var texts = blob[(4 + (int)length)..];
        for (var start = 0; start < texts.Length; )
        {
            var end = texts[start..].IndexOf((byte)0);
            end = end < 0 ? texts.Length : start + end;
            _replacements[start] = Encoding.UTF8.GetString(texts[start..end]);
            start = end + 1;
        }
    }

    /// <summary>The longest entry at the start of <paramref name="text"/>: its length and what it becomes.</summary>
    public bool TryMatch(ReadOnlySpan<char> text, out int length, out string replacement)
    {
        (length, replacement) = (0, "");
        var (node, read) = (GetOffset(_units[0]), 0);
        Span<byte> bytes = stackalloc byte[4];
        while (read < text.Length)
        {
            var isEntry = false;
            Rune.DecodeFromUtf16(text[read..], out var rune, out var units);
            foreach (var b in bytes[..rune.EncodeToUtf8(bytes)])
            {
                node ^= b;
                if (node >= _units.Length || (_units[node] & 0x800000FF) != b)
                    return length > 0;
                isEntry = (_units[node] >> 8 & 1) != 0;
                node ^= GetOffset(_units[node]);
            }
            read += units;
            // An entry ends here. Its value is in the unit at the node.
            if (isEntry && node < _units.Length && _replacements.TryGetValue((int)(_units[node] & 0x7FFFFFFF), out var found))
                (length, replacement) = (read, found);
        }
        return length > 0;
    }

    // Bits 10 to 30, shifted by 8 more if bit 9 is set.
    private static uint GetOffset(uint unit) => unit >> 10 << (int)((unit & 0x200) >> 6);
}
