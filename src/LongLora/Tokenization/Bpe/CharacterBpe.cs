using System.Runtime.InteropServices;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>
/// Byte pair encoding over characters, as in SentencePiece (Llama 2, Mistral, Phi-3). A character without a token becomes bytes or the
/// unknown token.
/// </summary>
internal sealed class CharacterBpe : ITokenModel
{
    // Marks a user-defined symbol, which is found as written and never merged. Ids are below this bit.
    private const int Frozen = 1 << 30;

    private readonly Dictionary<int, int> _characterIds;
    private readonly MergeTable _merges;
    private readonly WordBoundary _boundary;
    private readonly UnknownCharacters _unknown;
    private readonly SymbolMatcher? _userSymbols;
    private readonly WordCache _cache = new();

    /// <param name="characterIds">Ids of the single-character tokens, by code point.</param>
    /// <param name="merges">Pairs of ids. A character without a token appears as <see cref="WithoutToken"/>.</param>
    /// <param name="boundary">Where texts may be split.</param>
    /// <param name="unknown">What is written for a character without a token.</param>
    /// <param name="userSymbols">Symbols that are found before any merge; null if the model has none.</param>
    public CharacterBpe(
        Dictionary<int, int> characterIds,
        MergeTable merges,
        WordBoundary boundary,
        UnknownCharacters unknown,
        SymbolMatcher? userSymbols = null
    ) => (_characterIds, _merges, _boundary, _unknown, _userSymbols) = (characterIds, merges, boundary, unknown, userSymbols);

    /// <summary>The symbol of a character that has no token of its own but may be part of one.</summary>
    public static int WithoutToken(int codePoint) => -1 - codePoint;

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        var first = ids.Count;
        var scratch = new List<int>();
        for (int start = 0, end; start < word.Length; start = end)
        {
            end = _boundary.FindNext(word, start);
            var part = word[start..end];
            if (!_cache.TryGet(part, out var known))
            {
                scratch.Clear();
                EncodePart(part, scratch);
                known = CollectionsMarshal.AsSpan(scratch);
                _cache.Add(part, known);
            }
            _unknown.Join(known, first, ids);
        }
    }

    private void EncodePart(ReadOnlySpan<char> text, List<int> ids)
    {
        var symbols = new List<int>(text.Length);
        for (var position = 0; position < text.Length; )
        {
            if (_userSymbols is not null && _userSymbols.TryMatch(text[position..], out var length, out var symbol))
            {
                symbols.Add(symbol | Frozen);
            }
            else
            {
                Rune.DecodeFromUtf16(text[position..], out var rune, out length);
                symbols.Add(_characterIds.TryGetValue(rune.Value, out var id) ? id : WithoutToken(rune.Value));
            }
            position += length;
        }
        var row = CollectionsMarshal.AsSpan(symbols);
        foreach (var symbol in row[..BpeMerger.Merge(row, _merges)])
        {
            if (symbol < 0)
                _unknown.Append(new Rune(-1 - symbol), ids);
            else
                ids.Add(symbol & ~Frozen);
        }
    }
}

/// <summary>Finds the longest of a few fixed symbols at the start of a text.</summary>
internal sealed class SymbolMatcher(IEnumerable<KeyValuePair<string, int>> symbols)
{
    private readonly Dictionary<char, KeyValuePair<string, int>[]> _byFirst = symbols
        .GroupBy(s => s.Key[0])
        .ToDictionary(g => g.Key, g => g.OrderByDescending(s => s.Key.Length).ToArray());

    /// <summary>Whether <paramref name="text"/>, which is not empty, starts with a symbol; returns its length and id.</summary>
    public bool TryMatch(ReadOnlySpan<char> text, out int length, out int id)
    {
        if (_byFirst.TryGetValue(text[0], out var candidates))
        {
            foreach (var (symbol, symbolId) in candidates)
            {
                if (!text.StartsWith(symbol, StringComparison.Ordinal))
                    continue;
                (length, id) = (symbol.Length, symbolId);
                return true;
            }
        }
        (length, id) = (0, -1);
        return false;
    }
}
