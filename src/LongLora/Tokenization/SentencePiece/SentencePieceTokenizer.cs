using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Builds a tokenizer from SentencePiece's <c>tokenizer.model</c>, BPE or Unigram. An unsupported feature throws a <see
/// cref="NotSupportedException"/> that names it.
/// </summary>
internal static class SentencePieceTokenizer
{
    private const int Unigram = 1,
        Bpe = 2;

    /// <summary>Builds a tokenizer.</summary>
    /// <param name="file">The pieces and how text is normalized.</param>
    /// <param name="path">Where they come from, for messages.</param>
    /// <param name="settings">The rest.</param>
    public static TextTokenizer Build(SentencePieceFile file, string path, TokenizerSettings settings)
    {
        RequireSupported(file, path);
        var tokens = new TokenTable(path);
        for (var id = 0; id < file.Pieces.Count; id++)
        {
            if (tokens.Find(file.Pieces[id].Text) is { } twin)
                throw new CheckpointException(
                    $"{path}: the pieces {twin} and {id} are both \"{file.Pieces[id].Text}\". Download the file again."
                );
            tokens.Set(id, file.Pieces[id].Text, GetBytes(file, id, path), file.Pieces[id].Kind == PieceKind.Control);
        }
        // Control pieces are never found in ordinary text. The files beside the model may list them too, and more.
        var own = file
            .Pieces.Index()
            .Where(p => p.Item.Kind is PieceKind.Control or PieceKind.Unknown)
            .Select(p =>
                settings.AddedTokens.FirstOrDefault(t => t.Content == p.Item.Text && t.Id == p.Index)
                ?? new AddedToken(p.Index, p.Item.Text) { Special = true }
            );
        var added = settings.Complete(own.ToList(), tokens);
        var unknown = file.Pieces.FindIndex(p => p.Kind == PieceKind.Unknown);
        tokens.Set(unknown, file.Pieces[unknown].Text, Encoding.UTF8.GetBytes(file.UnknownSurface), special: false);

        var bos = settings.Find("bos_token", tokens, FindControl(file, file.BosPiece));
        var eos = settings.Find("eos_token", tokens, FindControl(file, file.EosPiece));
        var userPieces = file
            .Pieces.Index()
            .Where(p => p.Item.Kind == PieceKind.UserDefined)
            .Select(p => KeyValuePair.Create(p.Item.Text, p.Index))
            .ToList();
        var userSymbols = userPieces.Count == 0 ? null : new SymbolMatcher(userPieces);
        return new TextTokenizer(
            new TokenizerParts
            {
                Tokens = tokens,
                Model = BuildModel(file, unknown, userSymbols),
                Preparation = new SentencePieceNormalizer(file, userSymbols, settings.Legacy, ReadCharacterMap(file, path)),
                AddedTokens = added,
                LeadingSpace = file.LeadingSpace,
                Unstripped = unknown,
                // transformers' LlamaTokenizer writes BOS unless told otherwise.
                Prefix = TokenizerSettings.ChooseSpecialIds(settings.AddBos ?? bos is not null, "bos_token", bos, []),
                Suffix = TokenizerSettings.ChooseSpecialIds(settings.AddEos, "eos_token", eos, []),
                BosTokenId = bos,
                EosTokenId = eos,
                PadTokenId = settings.Find("pad_token", tokens, FindControl(file, file.PadPiece)),
            }
        );
    }

    /// <summary>Refuses a model with features that this tokenizer does not have.</summary>
    /// <param name="file">The model.</param>
    /// <param name="path">Its file, for messages.</param>
    /// <exception cref="NotSupportedException">The feature is named.</exception>
    internal static void RequireSupported(SentencePieceFile file, string path)
    {
        if (file.ModelType is not (Unigram or Bpe))
            throw new NotSupportedException(
                $"{path}: the SentencePiece model type {(file.ModelType == 3 ? "word" : file.ModelType == 4 ? "char" : file.ModelType)} "
                    + $"is not supported. The supported types are BPE and Unigram"
            );
        if (file.SpaceAsSuffix)
            throw new NotSupportedException($"{path}: treat_whitespace_as_suffix is not supported");
        if (file.HasDenormalizer)
            throw new NotSupportedException($"{path}: a denormalizer is not supported");
        if (file.Pieces.Count(p => p.Kind == PieceKind.Unknown) != 1)
            throw new CheckpointException(
                $"{path} has {file.Pieces.Count(p => p.Kind == PieceKind.Unknown)} unknown pieces instead of one. Download the file again."
            );
        if (file.ModelType == Bpe && file.Pieces.FindIndex(p => p.Kind == PieceKind.Unused) is >= 0 and var unused)
            throw new NotSupportedException(
                $"{path}: piece {unused}, \"{file.Pieces[unused].Text}\", has the type UNUSED, which is not supported in a BPE model"
            );
        if (file.ByteFallback && file.Pieces.Count(p => p.Kind == PieceKind.Byte) != 256)
            throw new CheckpointException(
                $"{path} uses byte fallback but has only {file.Pieces.Count(p => p.Kind == PieceKind.Byte)} of the 256 byte pieces. "
                    + $"Download "
                    + $"the file again."
            );
    }

    private static byte[] GetBytes(SentencePieceFile file, int id, string path)
    {
        var piece = file.Pieces[id];
        return piece.Kind switch
        {
            PieceKind.Byte =>
            [
                TokenizerJson.ReadByteToken(piece.Text)
                    ?? throw new CheckpointException($"{path}: the byte piece {id} is \"{piece.Text}\", but it must look like <0x0A>."),
            ],
            PieceKind.Control => Encoding.UTF8.GetBytes(piece.Text),
            _ => Encoding.UTF8.GetBytes(piece.Text.Replace('\u2581', ' ')),
        };
    }

    private static string? FindControl(SentencePieceFile file, string piece) =>
        file.Pieces.Exists(p => p.Kind == PieceKind.Control && p.Text == piece) ? piece : null;

    /// <summary>The character map of a model; null for the identity.</summary>
    /// <exception cref="CheckpointException">It is damaged.</exception>
    internal static CharacterMap? ReadCharacterMap(SentencePieceFile file, string path)
    {
        try
        {
            return file.CharacterMap.Length == 0 ? null : new CharacterMap(file.CharacterMap);
        }
        catch (FormatException e)
        {
            throw new CheckpointException($"{path} is damaged: {e.Message}. Download the file again.", e);
        }
    }

    private static ITokenModel BuildModel(SentencePieceFile file, int unknown, SymbolMatcher? userSymbols)
    {
        var bytes = file.ByteFallback ? new int[256] : null;
        foreach (var (id, piece) in file.Pieces.Index().Where(p => p.Item.Kind == PieceKind.Byte))
            bytes?[TokenizerJson.ReadByteToken(piece.Text)!.Value] = id;
        // The pieces that text can become.
        var pieces = file
            .Pieces.Index()
            .Where(p => p.Item.Kind is PieceKind.Normal or PieceKind.UserDefined)
            .Select(p => (p.Item.Text, Id: p.Index, p.Item.Score, p.Item.Kind))
            .ToList();
        var boundary = new WordBoundary(file.EscapeWhitespaces ? '\u2581' : ' ', pieces.Select(p => p.Text));
        var unknowns = new UnknownCharacters(bytes, unknown, Fuse: true);
        if (file.ModelType == Bpe)
        {
            var ids = pieces.ToDictionary(p => p.Text, p => p.Id, StringComparer.Ordinal);
            return new CharacterBpe(
                FindSingleCharacters(ids),
                MakeMerges(pieces.Select(p => (p.Text, p.Id, p.Score)), ids),
                boundary,
                unknowns,
                userSymbols
            );
        }
        var scores = pieces.Where(p => p.Kind == PieceKind.Normal).Select(p => p.Score).DefaultIfEmpty(0).ToList();
        // A user-defined symbol costs almost nothing: its length in bytes times the best score, minus 0.1. The best score starts at FLT_MIN
        // and so is never negative (unigram_model.cc).
        var best = Math.Max(1.17549435e-38f, scores.Max());
        return new UnigramModel(
            pieces.Select(p =>
                (p.Text, p.Id, p.Kind == PieceKind.UserDefined ? (double)(Encoding.UTF8.GetByteCount(p.Text) * best) - 0.1 : p.Score)
            ),
            scores.Min(),
            boundary,
            unknowns
        );
    }

    internal static Dictionary<int, int> FindSingleCharacters(Dictionary<string, int> ids)
    {
        var characters = new Dictionary<int, int>();
        foreach (var (text, id) in ids)
        {
            if (IsOneCharacter(text))
                characters[Rune.GetRuneAt(text, 0).Value] = id;
        }
        return characters;
    }

    private static bool IsOneCharacter(ReadOnlySpan<char> text) => text.Length == (char.IsHighSurrogate(text[0]) ? 2 : 1);

    /// <summary>
    /// SentencePiece merges two neighbors if their concatenation is a piece, the highest score first. So every way to split a piece into
    /// two symbols is a merge, ranked by the score of the piece.
    /// </summary>
    internal static MergeTable MakeMerges(IEnumerable<(string Text, int Id, float Score)> pieces, Dictionary<string, int> ids)
    {
        var table = new MergeTable(2 * ids.Count);
        var lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        var (rank, last) = (-1, float.NaN);
        foreach (var (text, id, score) in pieces.OrderByDescending(p => p.Score))
        {
            if (score != last)
                (rank, last) = (rank + 1, score);
            for (var cut = 1; cut < text.Length; cut++)
            {
                if (TrySymbol(text.AsSpan(0, cut), lookup, out var left) && TrySymbol(text.AsSpan(cut), lookup, out var right))
                    table.Add(left, right, rank, id);
            }
        }
        return table;
    }

    private static bool TrySymbol(ReadOnlySpan<char> text, Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> ids, out int symbol)
    {
        if (ids.TryGetValue(text, out symbol))
            return true;
        if (char.IsLowSurrogate(text[0]) || !IsOneCharacter(text))
            return false;
        Rune.DecodeFromUtf16(text, out var rune, out _);
        symbol = CharacterBpe.WithoutToken(rune.Value);
        return true;
    }
}
