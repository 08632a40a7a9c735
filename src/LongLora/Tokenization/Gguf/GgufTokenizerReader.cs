using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Builds a tokenizer from the metadata of a GGUF file: byte-level BPE by merges, SentencePiece BPE by scores, or Unigram. Its tokens are
/// llama.cpp's: byte-level models do not normalize text, and control tokens are recognized only where special tokens are parsed. Rules of
/// SentencePiece that the file has are followed, also those that llama.cpp reads for Unigram alone.
/// </summary>
internal static class GgufTokenizerReader
{
    private const char Space = '\u2581';

    // What SentencePiece writes for an unknown token.
    private const string UnknownSurface = " \u2047 ";

    /// <summary>Builds the tokenizer.</summary>
    /// <exception cref="CheckpointException">The vocabulary is damaged.</exception>
    public static TextTokenizer Build(GgufVocabulary vocabulary) =>
        vocabulary.Model switch
        {
            "gpt2" => Bytes(vocabulary),
            "gemma4" => MergedPieces(vocabulary),
            "t5" => Unigram(vocabulary),
            _ => ScoredPieces(vocabulary),
        };

    /// <summary>The tokens that are found in a text as they are written.</summary>
    public static List<AddedToken> AddedTokens(GgufVocabulary vocabulary)
    {
        int?[] ends = [vocabulary.Bos, vocabulary.Eos, vocabulary.EndOfTurn, vocabulary.EndOfMessage];
        bool IsSpecial(int id) => vocabulary.Kinds[id] is PieceKind.Control or PieceKind.Unknown || ends.Contains(id);
        // Phi-3's, but for these three.
        bool StripsRight(int id) =>
            vocabulary.SpecialTokensStripRight && vocabulary.Tokens[id] is not ("<unk>" or "<s>" or "<|endoftext|>");
        return
        [
            .. vocabulary
                .Tokens.Index()
                .Where(t => IsSpecial(t.Index) || vocabulary.Kinds[t.Index] == PieceKind.UserDefined)
                .Where(t => t.Item.Length > 0)
                .Select(t => new AddedToken(t.Index, t.Item) { Special = IsSpecial(t.Index), RightStrip = StripsRight(t.Index) }),
        ];
    }

    private static TextTokenizer Bytes(GgufVocabulary vocabulary)
    {
        var (tokens, ids) = Ordinary(vocabulary, token => ByteAlphabet.Read(token) ?? Encoding.UTF8.GetBytes(token));
        return new TextTokenizer(
            Parts(vocabulary, tokens, new ByteLevelBpe(ids, Merges(vocabulary, ids), vocabulary.Rule!.WholeWords, unknownId: null)) with
            {
                Splitter = vocabulary.Rule.Splitter(),
            }
        );
    }

    private static TextTokenizer ScoredPieces(GgufVocabulary vocabulary)
    {
        var (tokens, ids) = Ordinary(vocabulary, PieceBytes);
        var rules = Rules(vocabulary, isUnigram: false, []);
        var map = SentencePieceTokenizer.ReadCharacterMap(rules, vocabulary.File);
        var merges = SentencePieceTokenizer.MakeMerges(ids.Select(t => (t.Key, t.Value, vocabulary.Scores[t.Value])), ids);
        return new TextTokenizer(
            Parts(vocabulary, tokens, Characters(vocabulary, ids, merges)) with
            {
                // A space stands in front of every part of a text between added tokens.
                Preparation = new SentencePieceNormalizer(rules, userSymbols: null, prefixEverywhere: true, map),
                LeadingSpace = rules.LeadingSpace,
                Unstripped = vocabulary.Unknown,
            }
        );
    }

    // Gemma 4: pieces as SentencePiece has them, joined by a list of merges; only line feeds are apart from the rest.
    private static TextTokenizer MergedPieces(GgufVocabulary vocabulary)
    {
        var (tokens, ids) = Ordinary(vocabulary, PieceBytes);
        var model = Characters(vocabulary, ids, Merges(vocabulary, ids));
        return new TextTokenizer(
            Parts(vocabulary, tokens, new WholeLineFeeds(model, ids)) with
            {
                Preparation = new ReplaceCharacterStep(' ', Space),
                Splitter = new GgufWordRule([@"[^\n]+|\n+"]).Splitter(),
                Unstripped = vocabulary.Unknown,
            }
        );
    }

    private static TextTokenizer Unigram(GgufVocabulary vocabulary)
    {
        if (vocabulary.Unknown is null)
            throw new CheckpointException($"{vocabulary.File}: a Unigram tokenizer needs an unknown token, and no key names it.");
        var pieces = vocabulary.Tokens.Index().Select(t => new Piece(t.Item, vocabulary.Scores[t.Index], Kind(vocabulary, t.Index)));
        string? Written(int? id) => id is { } token ? vocabulary.Tokens[token] : null;
        var settings = TokenizerSettings.Of(
            vocabulary.File,
            vocabulary.AddBos,
            vocabulary.AddEos,
            new Dictionary<string, string?>
            {
                ["bos_token"] = Written(vocabulary.Bos),
                ["eos_token"] = Written(vocabulary.Eos),
                ["pad_token"] = Written(vocabulary.Padding),
            }
        );
        var file = Rules(vocabulary, isUnigram: true, pieces);
        try
        {
            return SentencePieceTokenizer.Build(file, vocabulary.File, settings);
        }
        catch (NotSupportedException e)
        {
            throw new CheckpointException($"{e.Message}.", e);
        }
    }

    private static SentencePieceFile Rules(GgufVocabulary vocabulary, bool isUnigram, IEnumerable<Piece> pieces) =>
        SentencePieceFile.Of(isUnigram, pieces, vocabulary.CharacterMap, vocabulary.AddSpacePrefix, vocabulary.RemoveExtraWhitespaces);

    // SentencePiece has exactly one unknown piece.
    private static PieceKind Kind(GgufVocabulary vocabulary, int id) =>
        id == vocabulary.Unknown ? PieceKind.Unknown
        : vocabulary.Kinds[id] == PieceKind.Unknown ? PieceKind.Control
        : vocabulary.Kinds[id];

    /// <summary>The tokens that text may become, and the table of all tokens.</summary>
    private static (TokenTable Tokens, Dictionary<string, int> Ids) Ordinary(GgufVocabulary vocabulary, Func<string, byte[]> bytes)
    {
        var tokens = new TokenTable(vocabulary.File);
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            var (text, kind) = (vocabulary.Tokens[id], vocabulary.Kinds[id]);
            if (kind == PieceKind.Normal)
                ids[text] = id;
            var value =
                kind == PieceKind.Unused ? []
                : kind == PieceKind.Byte ? [ByteValue(vocabulary, id)]
                : kind == PieceKind.Unknown && vocabulary.Model != "gpt2" ? Encoding.UTF8.GetBytes(UnknownSurface)
                : bytes(text);
            tokens.Set(id, text, value, special: false);
        }
        foreach (var token in AddedTokens(vocabulary).Where(t => vocabulary.Kinds[t.Id] != PieceKind.Unknown))
            tokens.Set(token);
        return (tokens, ids);
    }

    private static CharacterBpe Characters(GgufVocabulary vocabulary, Dictionary<string, int> ids, MergeTable merges) =>
        new(
            SentencePieceTokenizer.FindSingleCharacters(ids),
            merges,
            new WordBoundary(Space, ids.Keys),
            new UnknownCharacters(ByteIds(vocabulary), vocabulary.Unknown, Fuse: true)
        );

    private static TokenizerParts Parts(GgufVocabulary vocabulary, TokenTable tokens, ITokenModel model) =>
        new()
        {
            Tokens = tokens,
            Model = model,
            AddedTokens = AddedTokens(vocabulary),
            Prefix = vocabulary is { AddBos: true, Bos: { } bos } ? [bos] : [],
            Suffix = vocabulary is { AddEos: true, Eos: { } eos } ? [eos] : [],
            BosTokenId = vocabulary.Bos,
            EosTokenId = vocabulary.Eos,
            PadTokenId = vocabulary.Padding,
        };

    private static MergeTable Merges(GgufVocabulary vocabulary, Dictionary<string, int> ids)
    {
        var table = new MergeTable(vocabulary.Merges.Count);
        var lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        for (var rank = 0; rank < vocabulary.Merges.Count; rank++)
        {
            // The space between; a token may itself be one in Gemma 4's list.
            var merge = vocabulary.Merges[rank].AsSpan();
            var cut = merge.Length < 3 ? -1 : merge[1..].IndexOf(' ') + 1;
            if (
                cut <= 0
                || !lookup.TryGetValue(merge[..cut], out var left)
                || !lookup.TryGetValue(merge[(cut + 1)..], out var right)
                || !lookup.TryGetValue(string.Concat(merge[..cut], merge[(cut + 1)..]), out var merged)
            )
                throw new CheckpointException(
                    $"{vocabulary.File}: the merge {rank}, '{vocabulary.Merges[rank]}', is not two tokens of the vocabulary that make a "
                        + $"third. Fetch or write the file again."
                );
            table.Add(left, right, rank, merged);
        }
        return table;
    }

    private static byte[] PieceBytes(string piece) => Encoding.UTF8.GetBytes(piece.Replace(Space, ' '));

    // 256 ids, or null where a byte has no token.
    private static int[]? ByteIds(GgufVocabulary vocabulary)
    {
        var ids = new int[256];
        Array.Fill(ids, -1);
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            if (vocabulary.Kinds[id] == PieceKind.Byte)
                ids[ByteValue(vocabulary, id)] = id;
        }
        return ids.Contains(-1) ? null : ids;
    }

    private static byte ByteValue(GgufVocabulary vocabulary, int id) =>
        TokenizerJson.ReadByteToken(vocabulary.Tokens[id])
        ?? throw new CheckpointException($"{vocabulary.File}: the byte token {id} is '{vocabulary.Tokens[id]}', not like <0x0A>.");

    /// <summary>Line feeds that are a token together are that token.</summary>
    private sealed class WholeLineFeeds(ITokenModel model, Dictionary<string, int> ids) : ITokenModel
    {
        private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _ids = ids.GetAlternateLookup<ReadOnlySpan<char>>();

        public void Encode(ReadOnlySpan<char> word, List<int> found)
        {
            if (!word.IsEmpty && !word.ContainsAnyExcept('\n') && _ids.TryGetValue(word, out var id))
                found.Add(id);
            else
                model.Encode(word, found);
        }
    }
}
