using System.Globalization;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Builds a tokenizer from Hugging Face's <c>tokenizer.json</c>: BPE over bytes (GPT-NeoX, Llama 3, Qwen) or over characters as SentencePiece has
/// it (Llama 2, Mistral, Phi-3). A component that is not supported is a <see cref="NotSupportedException"/> that names it.
/// </summary>
internal static class TokenizerJson
{
    public static TextTokenizer Load(string path, TokenizerSettings settings)
    {
        using var document = TokenizerFiles.ReadJson(path);
        var root = new JsonNode(path, "", document.RootElement);
        var model = root["model"];
        if (model.IsNull)
            throw model.Fault("an object");
        CheckModel(model);
        var vocabulary = ReadVocabulary(model["vocab"]);
        var cutting = TokenizerJsonPipeline.ReadPreTokenizer(root["pre_tokenizer"]);
        var decoding = TokenizerJsonPipeline.ReadDecoder(root["decoder"]);
        if (decoding.ByteLevel != cutting.ByteLevel)
            throw new NotSupportedException($"{path}: only one of pre_tokenizer and decoder is ByteLevel, which is not supported; both must be, or none");

        var tokens = new TokenTable(path);
        foreach (var (token, id) in vocabulary)
            tokens.Set(id, token, decoding.Bytes(token), special: false);
        var own = root["added_tokens"] is { IsNull: false } list
            ? list.Items().Select(node => TokenizerSettings.ReadAddedToken(node, node["id"].Integer())).ToList()
            : [];
        foreach (var token in own)
            tokens.Set(token);
        var added = settings.Complete(own, tokens);
        var (prefix, suffix) = TokenizerJsonPipeline.ReadPostProcessor(root["post_processor"], tokens);
        var bos = settings.Find("bos_token", tokens);
        var eos = settings.Find("eos_token", tokens);
        // Llama 3 folders written before Meta mended their post-processor lack BOS, with which the model was trained.
        var forgotten = prefix.Count == 0 && bos is not null && bos == tokens.Find("<|begin_of_text|>");
        return new TextTokenizer(new TokenizerParts
        {
            Tokens = tokens,
            Model = BuildModel(model, vocabulary, cutting.ByteLevel),
            Normalizer = TokenizerJsonPipeline.ReadNormalizer(root["normalizer"]),
            Preparation = cutting.Preparation,
            Splitter = cutting.Splitter,
            AddedTokens = added,
            LeadingSpace = decoding.LeadingSpace,
            Prefix = TokenizerSettings.Around(settings.AddBos ?? (forgotten ? true : null), "bos_token", bos, prefix),
            Suffix = TokenizerSettings.Around(settings.AddEos, "eos_token", eos, suffix),
            BosTokenId = bos,
            EosTokenId = eos,
            PadTokenId = settings.Find("pad_token", tokens),
        });
    }

    private static void CheckModel(JsonNode model)
    {
        // Files of before 2020 have no type; they are told by their merges.
        var type = model["type"].TextOrNull() ?? (model["merges"].IsNull ? "without a type" : "BPE");
        if (type != "BPE")
            throw new NotSupportedException($"{model.File}: the model type \"{type}\" is not supported; supported is BPE");
        if (!model["dropout"].IsNull && model["dropout"].Value.GetDouble() != 0)
            throw new NotSupportedException($"{model.File}: model.dropout {model["dropout"].Value.GetRawText()} is not supported: the ids would be random; set it to null");
        foreach (var name in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model[name].TextOrNull() is { Length: > 0 } mark)
                throw new NotSupportedException($"{model.File}: model.{name} \"{mark}\" is not supported");
        }
    }

    private static Dictionary<string, int> ReadVocabulary(JsonNode node)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (token, id) in node.Members())
            vocabulary[token] = id.Integer();
        return vocabulary;
    }

    private static ITokenModel BuildModel(JsonNode model, Dictionary<string, int> vocabulary, bool byteLevel)
    {
        int? unknown = null;
        if (model["unk_token"].TextOrNull() is { } token)
            unknown = vocabulary.TryGetValue(token, out var id) ? id : throw model["unk_token"].Fault("a token of the vocabulary");
        var merges = ReadMerges(model["merges"], vocabulary);
        var ignoreMerges = model["ignore_merges"].Flag();
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
        var bytes = model["byte_fallback"].Flag() ? ByteTokens(vocabulary) : null;
        return new CharacterBpe(characters, merges, new WordBoundary('\u2581', vocabulary.Keys), new UnknownCharacters(bytes, unknown, model["fuse_unk"].Flag()));
    }

    private static MergeTable ReadMerges(JsonNode node, Dictionary<string, int> vocabulary)
    {
        var table = new MergeTable(node.IsNull ? 0 : node.Value.ValueKind == System.Text.Json.JsonValueKind.Array ? node.Value.GetArrayLength() : 0);
        var rank = 0;
        foreach (var merge in node.Items())
        {
            // "left right" in older files, ["left", "right"] in newer ones.
            var parts = merge.Value.ValueKind == System.Text.Json.JsonValueKind.String ? merge.Text().Split(' ') : merge.Items().Select(part => part.Text()).ToArray();
            if (parts.Length != 2 || !vocabulary.TryGetValue(parts[0], out var left) || !vocabulary.TryGetValue(parts[1], out var right)
                || !vocabulary.TryGetValue(parts[0] + parts[1], out var merged))
                throw merge.Fault("two tokens of the vocabulary that make a third");
            table.Add(left, right, rank++, merged);
        }
        return table;
    }

    /// <summary>The 256 byte tokens, or null where one is missing: then no character falls back.</summary>
    private static int[]? ByteTokens(Dictionary<string, int> vocabulary)
    {
        var ids = new int[256];
        for (var b = 0; b < 256; b++)
        {
            if (!vocabulary.TryGetValue(ByteToken(b), out ids[b]))
                return null;
        }
        return ids;
    }

    /// <summary>How a byte token is written: <c>&lt;0x0A&gt;</c>.</summary>
    public static string ByteToken(int value) => string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>");

    /// <summary>The byte that a token of that form stands for, or null.</summary>
    public static byte? ReadByteToken(string token) =>
        token is ['<', '0', 'x', _, _, '>'] && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value) ? value : null;
}
