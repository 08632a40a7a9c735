using System.Runtime.InteropServices;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>Byte pair encoding over the UTF-8 bytes of a word, as in GPT-2 and its successors (GPT-NeoX, Llama 3, Qwen).</summary>
internal sealed class ByteLevelBpe : ITokenModel
{
    private readonly int[] _byteIds;
    private readonly MergeTable _merges;
    private readonly Dictionary<string, int>? _wholeWords;
    private readonly WordCache _cache = new();

    /// <param name="vocabulary">
    /// Ids by token, where each byte of a token is written as one printable character (<see cref="ByteAlphabet"/>).
    /// </param>
    /// <param name="merges">The merge list.</param>
    /// <param name="ignoreMerges">
    /// If a word is a token, it becomes that token, whatever the merges would give (<c>ignore_merges</c>).
    /// </param>
    /// <param name="unknownId">The token for a byte that has no token; null to leave the byte out.</param>
    public ByteLevelBpe(Dictionary<string, int> vocabulary, MergeTable merges, bool ignoreMerges, int? unknownId)
    {
        _merges = merges;
        _wholeWords = ignoreMerges ? vocabulary : null;
        _byteIds = new int[256];
        for (var b = 0; b < 256; b++)
            _byteIds[b] = vocabulary.TryGetValue(ByteAlphabet.GetCharacter((byte)b).ToString(), out var id) ? id : unknownId ?? -1;
    }

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (_cache.TryGet(word, out var known))
        {
            ids.AddRange(known);
            return;
        }
        var start = ids.Count;
        // A UTF-16 unit needs at most three bytes.
        var borrowed = ScratchArray.Rent<byte>(3 * word.Length);
        var bytes = borrowed.AsSpan(0, Encoding.UTF8.GetBytes(word, borrowed));
        if (!TryWholeWord(bytes, ids))
        {
            CollectionsMarshal.SetCount(ids, start + bytes.Length);
            var symbols = CollectionsMarshal.AsSpan(ids)[start..];
            for (var i = 0; i < bytes.Length; i++)
                symbols[i] = _byteIds[bytes[i]];
            CollectionsMarshal.SetCount(ids, start + Keep(symbols[..BpeMerger.Merge(symbols, _merges)]));
        }
        ScratchArray.Return(borrowed);
        _cache.Add(word, CollectionsMarshal.AsSpan(ids)[start..]);
    }

    /// <summary>Removes the bytes that have no token and returns the number of symbols left.</summary>
    private static int Keep(Span<int> symbols)
    {
        var kept = 0;
        foreach (var symbol in symbols)
        {
            if (symbol >= 0)
                symbols[kept++] = symbol;
        }
        return kept;
    }

    private bool TryWholeWord(ReadOnlySpan<byte> bytes, List<int> ids)
    {
        if (_wholeWords is null)
            return false;
        using var written = new TextBuffer();
        foreach (var b in bytes)
            written.Append(ByteAlphabet.GetCharacter(b));
        if (!_wholeWords.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(written.Text, out var id))
            return false;
        ids.Add(id);
        return true;
    }
}

/// <summary>
/// GPT-2's way to write bytes as printable characters: visible Latin-1 characters stand for themselves, the others from U+0100 on stand for
/// the rest.
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] s_characters = Build();
    private static readonly Dictionary<char, byte> s_bytes = s_characters.Select((c, b) => (c, b)).ToDictionary(p => p.c, p => (byte)p.b);

    /// <summary>The character for a byte.</summary>
    public static char GetCharacter(byte value) => s_characters[value];

    /// <summary>The bytes of a token; null if one of its characters stands for no byte.</summary>
    public static byte[]? Read(string token)
    {
        var bytes = new byte[token.Length];
        for (var i = 0; i < token.Length; i++)
        {
            if (!s_bytes.TryGetValue(token[i], out bytes[i]))
                return null;
        }
        return bytes;
    }

    private static char[] Build()
    {
        var characters = new char[256];
        var hidden = 0;
        for (var b = 0; b < 256; b++)
            characters[b] = (char)(b is >= '!' and <= '~' or >= 0xA1 and <= 0xAC or >= 0xAE ? b : 0x100 + hidden++);
        return characters;
    }
}
