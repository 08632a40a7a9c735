using System.Buffers;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>What decoding does with the space that encoding may have written before a text.</summary>
internal enum LeadingSpace
{
    /// <summary>Nothing, because the encoder writes none.</summary>
    Keep,

    /// <summary>It is removed from the first decoded token.</summary>
    StripOnce,

    /// <summary>One is removed from every token until there is text (SentencePiece with <c>remove_extra_whitespaces</c>).</summary>
    StripWhileEmpty,
}

/// <summary>The parts of one model's tokenizer, as described by <c>tokenizer.json</c> or <c>tokenizer.model</c>.</summary>
internal sealed record TokenizerParts
{
    public required TokenTable Tokens { get; init; }

    public required ITokenModel Model { get; init; }

    /// <summary>Rewrites text before the search for normalized added tokens.</summary>
    public TextStep? Normalizer { get; init; }

    /// <summary>Rewrites text after that search.</summary>
    public TextStep? Preparation { get; init; }

    /// <summary>Null if the model uses the whole text.</summary>
    public WordSplitter? Splitter { get; init; }

    public IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    public LeadingSpace LeadingSpace { get; init; }

    /// <summary>A token that always keeps its leading space, whatever <see cref="LeadingSpace"/> says.</summary>
    public int? Unstripped { get; init; }

    /// <summary>Ids before every text.</summary>
    public IReadOnlyList<int> Prefix { get; init; } = [];

    /// <summary>Ids after every text.</summary>
    public IReadOnlyList<int> Suffix { get; init; } = [];

    public int? BosTokenId { get; init; }

    public int? EosTokenId { get; init; }

    public int? PadTokenId { get; init; }
}

/// <summary>
/// The only implementation of <see cref="ITokenizer"/>: text, added tokens, normalizer, words, model. After construction only the models'
/// caches of words change, and these are thread-safe. So several threads may share one tokenizer.
/// </summary>
internal sealed class TextTokenizer : ITokenizer
{
    private readonly TokenizerParts _parts;
    private readonly Matchers _ordinary;
    private readonly Matchers _withSpecial;
    private readonly AddedTokenMatcher? _special;
    private readonly Lazy<TokenBound> _bound;

    public TextTokenizer(TokenizerParts parts)
    {
        _parts = parts;
        _ordinary = new(parts, special: false);
        _withSpecial = new(parts, special: true);
        _special = AddedTokenMatcher.Create(parts.AddedTokens.Where(t => t.Special));
        _bound = new(() => new TokenBound(this));
    }

    /// <inheritdoc/>
    public int VocabularySize => _parts.Tokens.Count;

    /// <inheritdoc/>
    public int? BosTokenId => _parts.BosTokenId;

    /// <inheritdoc/>
    public int? EosTokenId => _parts.EosTokenId;

    /// <inheritdoc/>
    public int? PadTokenId => _parts.PadTokenId;

    /// <inheritdoc/>
    public int? FindToken(string token) => _parts.Tokens.Find(token);

    /// <inheritdoc/>
    public IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false)
    {
        // English text has about four characters per token.
        var ids = new List<int>(text.Length / 4 + 8);
        if (addSpecial)
            ids.AddRange(_parts.Prefix);
        EncodeTokens(text, true, parseSpecial ? _withSpecial : _ordinary, ids, int.MaxValue);
        if (addSpecial)
            ids.AddRange(_parts.Suffix);
        return ids;
    }

    /// <summary>
    /// The ids of a text of which nobody knows how long it is. One that has too many is given up early: before it is encoded if its
    /// letters and digits alone fill that many of the longest tokens, and else at the first token that is too many.
    /// </summary>
    /// <param name="text">The text; special tokens in it are ordinary text.</param>
    /// <param name="most">Most ids.</param>
    /// <param name="addSpecial">Adds what the model's own tokenizer adds around a text.</param>
    /// <exception cref="TextTooLongException">It has more.</exception>
    internal IReadOnlyList<int> EncodeUpTo(ReadOnlySpan<char> text, int most, bool addSpecial)
    {
        RequireUpTo(text, most);
        var ids = new List<int>();
        if (addSpecial)
            ids.AddRange(_parts.Prefix);
        EncodeTokens(text, true, _ordinary, ids, most);
        if (addSpecial)
            ids.AddRange(_parts.Suffix);
        return ids.Count <= most ? ids : throw new TextTooLongException(ids.Count);
    }

    /// <summary>Gives up a text whose letters and digits alone fill more than so many of the longest tokens.</summary>
    /// <exception cref="TextTooLongException">It has more.</exception>
    internal void RequireUpTo(ReadOnlySpan<char> text, int most)
    {
        if (text.Length > most && _bound.Value.CountAtLeast(text) is var least && least > most)
            throw new TextTooLongException(least);
    }

    /// <inheritdoc/>
    /// <remarks>An id at or above <see cref="VocabularySize"/>, which a padded embedding matrix may produce, has no text.</remarks>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true)
    {
        var bytes = new ArrayBufferWriter<byte>(4 * ids.Length + 16);
        var stripping = _parts.LeadingSpace != LeadingSpace.Keep;
        foreach (var id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            if (skipSpecial && _parts.Tokens.IsSpecial(id))
                continue;
            var token = _parts.Tokens.GetBytes(id);
            if (stripping && token is [(byte)' ', ..] && id != _parts.Unstripped)
            {
                token = token[1..];
                stripping = _parts.LeadingSpace == LeadingSpace.StripWhileEmpty;
            }
            stripping &= token.IsEmpty;
            bytes.Write(token);
        }
        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }

    /// <summary>The bytes of a token; empty for an id without a token.</summary>
    internal ReadOnlySpan<byte> GetBytes(int id) => _parts.Tokens.GetBytes(id);

    /// <summary>Whether it is a control token.</summary>
    internal bool IsSpecial(int id) => _parts.Tokens.IsSpecial(id);

    /// <summary>Finds the special tokens of this tokenizer in a text as written; null if there are none.</summary>
    internal AddedTokenMatcher? SpecialTokens => _special;

    /// <summary>Appends the ids of a part of a text in which special tokens are not recognized.</summary>
    /// <param name="text">The part.</param>
    /// <param name="atStart">Whether it starts the text.</param>
    /// <param name="ids">Receives the ids.</param>
    /// <param name="most">Encoding stops when there are more ids than this, so that a text without end costs no work without end.</param>
    internal void EncodePart(ReadOnlySpan<char> text, bool atStart, List<int> ids, int most = int.MaxValue) =>
        EncodeTokens(text, atStart, _ordinary, ids, most);

    /// <summary>
    /// Where the text goes on after white space that a special token absorbed: at an ordinary added token in it, or at its end.
    /// </summary>
    internal int FindEndOfAbsorbed(ReadOnlySpan<char> text, int start, int end)
    {
        if (start == end || _ordinary.Raw is not { } matcher)
            return end;
        var search = start;
        return matcher.TryFind(text, ref search, start, out var found, out _, out _) && found < end ? found : end;
    }

    /// <summary>
    /// Where white space before a special token that absorbs it begins: behind the last ordinary added token, which is found first.
    /// </summary>
    internal int FindStartOfAbsorbed(ReadOnlySpan<char> text, int done, int start, int end)
    {
        if (start == end || _ordinary.Raw is not { } matcher)
            return start;
        var search = done;
        while (matcher.TryFind(text[..end], ref search, done, out _, out var next, out _))
            done = next;
        return Math.Max(start, done);
    }

    private void EncodeTokens(ReadOnlySpan<char> text, bool atStart, Matchers matchers, List<int> ids, int most)
    {
        var (done, search) = (0, 0);
        while (ids.Count <= most && matchers.Raw is { } raw && raw.TryFind(text, ref search, done, out var start, out var end, out var id))
        {
            if (start > done)
                EncodeOrdinary(text[done..start], atStart && done == 0, matchers.Normalized, ids, most);
            ids.Add(id);
            done = end;
        }
        if (done < text.Length)
            EncodeOrdinary(text[done..], atStart && done == 0, matchers.Normalized, ids, most);
    }

    private void EncodeOrdinary(ReadOnlySpan<char> text, bool atStart, AddedTokenMatcher? added, List<int> ids, int most)
    {
        using var normalized = new TextBuffer();
        if (_parts.Normalizer is not null && _parts.Normalizer.Apply(text, atStart, normalized))
            text = normalized.Text;
        var (done, search) = (0, 0);
        while (ids.Count <= most && added is not null && added.TryFind(text, ref search, done, out var start, out var end, out var id))
        {
            if (start > done)
                EncodeWords(text[done..start], atStart && done == 0, ids, most);
            ids.Add(id);
            done = end;
        }
        if (done < text.Length)
            EncodeWords(text[done..], atStart && done == 0, ids, most);
    }

    private void EncodeWords(ReadOnlySpan<char> text, bool atStart, List<int> ids, int most)
    {
        using var prepared = new TextBuffer();
        if (_parts.Preparation is not null && _parts.Preparation.Apply(text, atStart, prepared))
            text = prepared.Text;
        if (text.Length > most - ids.Count && (long)ids.Count + _bound.Value.CountWordsAtLeast(text) is var least && least > most)
            throw new TextTooLongException((int)Math.Min(least, int.MaxValue));
        if (_parts.Splitter is null)
        {
            _parts.Model.Encode(text, ids);
            return;
        }
        foreach (var (start, end) in _parts.Splitter.Split(text))
        {
            if (ids.Count > most)
                return;
            _parts.Model.Encode(text[start..end], ids);
        }
    }

    /// <summary>The added tokens to search for before (Raw) and after (Normalized) the normalizer.</summary>
    private sealed class Matchers(TokenizerParts parts, bool special)
    {
        public AddedTokenMatcher? Raw { get; } =
            AddedTokenMatcher.Create(parts.AddedTokens.Where(t => !t.Normalized && (special || !t.Special)));

        public AddedTokenMatcher? Normalized { get; } =
            AddedTokenMatcher.Create(parts.AddedTokens.Where(t => t.Normalized && (special || !t.Special)), parts.Normalizer);
    }
}
