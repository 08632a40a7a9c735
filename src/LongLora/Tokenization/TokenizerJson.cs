using System.Globalization;
using System.Text;
using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>
/// Builds a tokenizer from Hugging Face's <c>tokenizer.json</c>: BPE over bytes (GPT-NeoX, Llama 3, Qwen), or over characters as in
/// SentencePiece (Llama 2, Mistral, Phi-3). An unsupported component throws a <see cref="NotSupportedException"/> that names it.
/// </summary>
internal static class TokenizerJson
{
    public static TextTokenizer Load(string path, TokenizerSettings settings)
    {
        using var document = TokenizerFiles.ReadJson(path);
        var root = new LocatedJson(path, "", document.RootElement);
        var model = root["model"];
        if (model.IsNull)
            throw model.MakeError("an object");
        CheckModel(model);
        var vocabulary = ReadVocabulary(model["vocab"]);
        var cutting = TokenizerJsonPipeline.ReadPreTokenizer(root["pre_tokenizer"]);
        var decoding = TokenizerJsonPipeline.ReadDecoder(root["decoder"]);
        if (decoding.ByteLevel != cutting.ByteLevel)
            throw new NotSupportedException(
                $"{path}: only one of pre_tokenizer and decoder is ByteLevel, which is not supported. Both or neither must be"
            );

        var tokens = new TokenTable(path);
        foreach (var (token, id) in vocabulary)
            tokens.Set(id, token, decoding.ToBytes(token), special: false);
        var own = root["added_tokens"] is { IsNull: false } list
            ? list.ReadItems().Select(node => TokenizerSettings.ReadAddedToken(node, node["id"].ReadInteger())).ToList()
            : [];
        foreach (var token in own)
            tokens.Set(token);
        var added = settings.Complete(own, tokens);
        var (prefix, suffix) = TokenizerJsonPipeline.ReadPostProcessor(root["post_processor"], tokens);
        var bos = settings.Find("bos_token", tokens);
        var eos = settings.Find("eos_token", tokens);
        // Llama 3 folders from before Meta fixed their post-processor lack BOS, although the model was trained with it.
        var forgotten = prefix.Count == 0 && bos is not null && bos == tokens.Find("<|begin_of_text|>");
        return new TextTokenizer(
            new TokenizerParts
            {
                Tokens = tokens,
                Model = BuildModel(model, vocabulary, cutting.ByteLevel),
                Normalizer = TokenizerJsonPipeline.ReadNormalizer(root["normalizer"]),
                Preparation = cutting.Preparation,
                Splitter = cutting.Splitter,
                AddedTokens = added,
                LeadingSpace = decoding.LeadingSpace,
                Prefix = TokenizerSettings.ChooseSpecialIds(settings.AddBos ?? (forgotten ? true : null), "bos_token", bos, prefix),
                Suffix = TokenizerSettings.ChooseSpecialIds(settings.AddEos, "eos_token", eos, suffix),
                BosTokenId = bos,
                EosTokenId = eos,
                PadTokenId = settings.Find("pad_token", tokens),
            }
        );
    }

    private static void CheckModel(LocatedJson model)
    {
        // Files from before 2020 have no type. They are recognized by their merges.
        var type = model["type"].ReadTextOrNull() ?? (model["merges"].IsNull ? "without a type" : "BPE");
        if (type != "BPE")
            throw new NotSupportedException($"{model.File}: the model type \"{type}\" is not supported. The supported type is BPE");
        if (!model["dropout"].IsNull && model["dropout"].Value.GetRawText() is not ("0" or "0.0"))
            throw new NotSupportedException(
                $"{model.File}: model.dropout {model["dropout"].Value.GetRawText()} is not supported because the ids would be "
                    + $"random. Set it "
                    + $"to null"
            );
        foreach (var name in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model[name].ReadTextOrNull() is { Length: > 0 } mark)
                throw new NotSupportedException($"{model.File}: model.{name} \"{mark}\" is not supported");
        }
    }

    private static Dictionary<string, int> ReadVocabulary(LocatedJson node)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var member in node.Expect(JsonValueKind.Object).Value.EnumerateObject())
            vocabulary[member.Name] =
                member.Value.ValueKind == JsonValueKind.Number && member.Value.TryGetInt32(out var id)
                    ? id
                    : node[member.Name].ReadInteger();
        return vocabulary;
    }

    private static ITokenModel BuildModel(LocatedJson model, Dictionary<string, int> vocabulary, bool byteLevel)
    {
        int? unknown = null;
        if (model["unk_token"].ReadTextOrNull() is { } token)
            unknown = vocabulary.TryGetValue(token, out var id) ? id : throw model["unk_token"].MakeError("a token of the vocabulary");
        var merges = ReadMerges(model["merges"], vocabulary);
        var ignoreMerges = model["ignore_merges"].ReadFlag();
        if (byteLevel)
            return new ByteLevelBpe(vocabulary, merges, ignoreMerges, unknown);
        if (ignoreMerges)
            throw new NotSupportedException($"{model.File}: model.ignore_merges is not supported for BPE over characters");

        var characters = new Dictionary<int, int>();
        foreach (var (text, id) in vocabulary)
        {
            if (Rune.DecodeFromUtf16(text, out var rune, out var length) == System.Buffers.OperationStatus.Done && length == text.Length)
                characters[rune.Value] = id;
        }
        var bytes = model["byte_fallback"].ReadFlag() ? FindByteTokens(vocabulary) : null;
        return new CharacterBpe(
            characters,
            merges,
            new WordBoundary('\u2581', vocabulary.Keys),
            new UnknownCharacters(bytes, unknown, model["fuse_unk"].ReadFlag())
        );
    }

    private static MergeTable ReadMerges(LocatedJson node, Dictionary<string, int> vocabulary)
    {
        var list = node.Expect(JsonValueKind.Array).Value;
        var table = new MergeTable(list.GetArrayLength());
        var lookup = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        using var whole = new TextBuffer();
        var rank = 0;
        foreach (var merge in list.EnumerateArray())
        {
            whole.Truncate(0);
            var cut = WriteMerge(merge, whole);
            if (
                cut < 0
                || !lookup.TryGetValue(whole.Text[..cut], out var left)
                || !lookup.TryGetValue(whole.Text[cut..], out var right)
                || !lookup.TryGetValue(whole.Text, out var merged)
            )
                throw new LocatedJson(node.File, $"{node.Path}[{rank}]", merge).MakeError("two tokens of the vocabulary that make a third");
            table.Add(left, right, rank++, merged);
        }
        return table;
    }

    /// <summary>
    /// Writes both tokens of a merge, "left right" in older files and ["left", "right"] in newer ones. Returns where the second one starts,
    /// or -1.
    /// </summary>
    private static int WriteMerge(JsonElement merge, TextBuffer whole)
    {
        if (merge.ValueKind == JsonValueKind.String)
        {
            var text = merge.GetString()!;
            var space = text.IndexOf(' ', StringComparison.Ordinal);
            if (space < 0)
                return -1;
            whole.Append(text.AsSpan(0, space));
            whole.Append(text.AsSpan(space + 1));
            return space;
        }
        if (
            merge.ValueKind != JsonValueKind.Array
            || merge.GetArrayLength() != 2
            || merge.EnumerateArray().Any(part => part.ValueKind != JsonValueKind.String)
        )
            return -1;
        whole.Append(merge[0].GetString());
        var cut = whole.Length;
        whole.Append(merge[1].GetString());
        return cut;
    }

    /// <summary>The 256 byte tokens; null if one is missing, and then no character is written as bytes.</summary>
    private static int[]? FindByteTokens(Dictionary<string, int> vocabulary)
    {
        var ids = new int[256];
        for (var b = 0; b < 256; b++)
        {
            if (!vocabulary.TryGetValue(NameByteToken(b), out ids[b]))
                return null;
        }
        return ids;
    }

    /// <summary>The name of a byte token, such as <c>&lt;0x0A&gt;</c>.</summary>
    public static string NameByteToken(int value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");

    /// <summary>The byte of a token with such a name, or null.</summary>
    public static byte? ReadByteToken(string token) =>
        token is ['<', '0', 'x', _, _, '>']
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            ? value
            : null;
}
