using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Export;

/// <summary>
/// The tokenizer of a model folder as GGUF metadata: SentencePiece BPE as <c>llama</c> (pieces with scores), byte-level BPE as
/// <c>gpt2</c> (merges, and the name of the rule that splits text into words, which is built into engines), and the chat template.
/// </summary>
internal sealed class GgufTokenizer
{
    private readonly string _folder;
    private readonly int _size;
    private readonly string?[] _texts;
    private readonly float[] _scores;
    private readonly int[] _kinds;
    private readonly List<(string, object)> _keys = [];

    private GgufTokenizer(string folder, int size)
    {
        (_folder, _size, _texts, _scores, _kinds) = (folder, size, new string?[size], new float[size], new int[size]);
        Array.Fill(_kinds, (int)PieceKind.Unused);
    }

    /// <summary>The tokenizer model of a file without a tokenizer.</summary>
    internal const string NoModel = "no_vocab";

    /// <summary>The keys of a file without a tokenizer.</summary>
    public static IReadOnlyList<(string Key, object Value)> None { get; } = [("tokenizer.ggml.model", NoModel)];

    /// <summary>The keys for a folder; none if it has no tokenizer.</summary>
    /// <param name="folder">The model's folder.</param>
    /// <param name="vocabularySize">V. Rows without a token get a placeholder name; tokens beyond V are an error.</param>
    /// <exception cref="CheckpointException">
    /// The tokenizer is damaged, larger than the vocabulary, or not supported by GGUF's engines.
    /// </exception>
    public static IReadOnlyList<(string Key, object Value)> Keys(string folder, int vocabularySize)
    {
        var (model, json) = (Path.Combine(folder, "tokenizer.model"), Path.Combine(folder, "tokenizer.json"));
        if (!File.Exists(model) && !File.Exists(json))
            return [];
        var tokenizer = TokenizerLoader.Load(folder);
        if (tokenizer.VocabularySize > vocabularySize)
            throw new CheckpointException(
                $"The tokenizer in '{folder}' has {tokenizer.VocabularySize} tokens, but the model has only {vocabularySize} "
                    + "embedding rows. Use the tokenizer that belongs to the model."
            );
        var table = new GgufTokenizer(folder, vocabularySize);
        if (File.Exists(model) && SentencePieceFile.IsLikely(model))
            table.TakeSentencePiece(SentencePieceFile.Read(model), model);
        else
            table.TakeJson(json);
        table.TakeAddedTokens();
        table.Finish(tokenizer);
        return table._keys;
    }

    private void TakeSentencePiece(SentencePieceFile file, string path)
    {
        if (file.ModelType != 2)
            throw new CheckpointException(
                $"{path} is not a BPE model (type {file.ModelType}), but engines expect SentencePiece BPE for these architectures."
            );
        if (!file.EscapeWhitespaces)
            throw new CheckpointException(
                $"{path} has escape_whitespaces false, but engines write every space as U+2581. You can export without the tokenizer; "
                    + "engines then accept only token ids."
            );
        foreach (var (id, piece) in file.Pieces.Index())
            Set(id, piece.Text, (int)piece.Kind, piece.Score);
        _keys.Add(("tokenizer.ggml.model", "llama"));
        _keys.Add(("tokenizer.ggml.pre", "default"));
        _keys.Add(("tokenizer.ggml.add_space_prefix", file.AddDummyPrefix));
        // llama.cpp reads these two for Unigram alone; LongLora reads them for BPE too.
        if (file.RemoveExtraWhitespaces)
            _keys.Add(("tokenizer.ggml.remove_extra_whitespaces", true));
        if (file.CharacterMap.Length > 0)
            _keys.Add(("tokenizer.ggml.precompiled_charsmap", file.CharacterMap));
        AddUnknown(file.Pieces.FindIndex(p => p.Kind == PieceKind.Unknown));
    }

    private void TakeJson(string path)
    {
        using var document = TokenizerFiles.ReadJson(path);
        var root = document.RootElement;
        var model = root.GetProperty("model");
        foreach (var token in model.GetProperty("vocab").EnumerateObject())
            Set(token.Value.GetInt32(), token.Name, (int)PieceKind.Normal, 0);
        var merges = model
            .GetProperty("merges")
            .EnumerateArray()
            .Select(m => m.ValueKind == JsonValueKind.String ? m.GetString()! : $"{m[0].GetString()} {m[1].GetString()}")
            .ToList();
        if (model.TryGetProperty("byte_fallback", out var fallback) && fallback.ValueKind == JsonValueKind.True)
        {
            TakeRanks(model, merges);
            _keys.Add(("tokenizer.ggml.add_space_prefix", AddsSpace(root)));
        }
        else
        {
            _keys.Add(("tokenizer.ggml.model", "gpt2"));
            _keys.Add(("tokenizer.ggml.pre", Rule(root, path)));
            _keys.Add(("tokenizer.ggml.merges", merges));
        }
        foreach (var token in root.GetProperty("added_tokens").EnumerateArray())
            AddToken(
                token.GetProperty("id").GetInt32(),
                token.GetProperty("content").GetString()!,
                token.GetProperty("special").GetBoolean()
            );
    }

    // Llama 2's normalizer or Metaspace writes a space in front of a text; Gemma's tokenizer does not.
    private static bool AddsSpace(JsonElement root)
    {
        bool Adds(JsonElement step) =>
            step.ValueKind == JsonValueKind.Object
            && step.GetProperty("type").GetString() switch
            {
                "Prepend" => true,
                "Metaspace" => step.TryGetProperty("prepend_scheme", out var scheme)
                    ? scheme.GetString() != "never"
                    : !step.TryGetProperty("add_prefix_space", out var adds) || adds.GetBoolean(),
                "Sequence" => step.EnumerateObject()
                    .Where(p => p.Value.ValueKind == JsonValueKind.Array)
                    .Any(p => p.Value.EnumerateArray().Any(Adds)),
                _ => false,
            };
        bool Has(string name) => root.TryGetProperty(name, out var step) && Adds(step);
        return Has("normalizer") || Has("pre_tokenizer");
    }

    // A converted SentencePiece model. Its merges are in the order of the pieces' scores, and only that order matters.
    private void TakeRanks(JsonElement model, List<string> merges)
    {
        var ids = model.GetProperty("vocab").EnumerateObject().ToDictionary(t => t.Name, t => t.Value.GetInt32(), StringComparer.Ordinal);
        Array.Fill(_scores, -merges.Count - 1);
        for (var rank = merges.Count - 1; rank >= 0; rank--)
            _scores[ids[merges[rank].Replace(" ", "", StringComparison.Ordinal)]] = -rank;
        foreach (var (text, id) in ids)
        {
            if (TokenizerJson.ReadByteToken(text) is not null)
                _kinds[id] = (int)PieceKind.Byte;
        }
        _keys.Add(("tokenizer.ggml.model", "llama"));
        _keys.Add(("tokenizer.ggml.pre", "default"));
        if (
            model.TryGetProperty("unk_token", out var unknown)
            && unknown.GetString() is { } text2
            && ids.TryGetValue(text2, out var unknownId)
        )
        {
            _kinds[unknownId] = (int)PieceKind.Unknown;
            AddUnknown(unknownId);
        }
    }

    private static string Rule(JsonElement root, string path)
    {
        var before = root.GetProperty("pre_tokenizer");
        var steps = before.TryGetProperty("pretokenizers", out var several) ? several.EnumerateArray().ToList() : [before];
        var patterns = steps.ConvertAll(Pattern);
        var wholeWords =
            root.GetProperty("model").TryGetProperty("ignore_merges", out var ignores) && ignores.ValueKind == JsonValueKind.True;
        var rule = patterns.Contains(null)
            ? null
            : GgufWordRule.NameOf([.. patterns.OfType<string>().Where(p => p.Length > 0)], wholeWords);
        return rule
            ?? throw new CheckpointException(
                $"{path}: engines do not know this tokenizer's rule for splitting words. They know "
                    + $"{string.Join(", ", GgufWordRule.Names)}. You can export without the tokenizer; engines then accept only token "
                    + $"ids. The rule is {Shortened(before.GetRawText())}"
            );
    }

    private static string Shortened(string text) => text.Length <= 300 ? text : text[..297] + "...";

    // The pattern by which a step splits; empty if it does not split, null if it splits in another way.
    private static string? Pattern(JsonElement step)
    {
        bool Has(string name, bool absent) => step.TryGetProperty(name, out var flag) ? flag.ValueKind == JsonValueKind.True : absent;
        return step.GetProperty("type").GetString() switch
        {
            "ByteLevel" => Has("use_regex", true) ? GgufWordRule.Gpt2 : "",
            "Digits" => Has("individual_digits", false) ? GgufWordRule.Digit : @"\p{N}+",
            // "Removed" with "invert" is equivalent if the pattern matches everything.
            "Split" when (step.GetProperty("behavior").GetString(), Has("invert", false)) is ("Isolated", false) or ("Removed", true) =>
                step.GetProperty("pattern").TryGetProperty("Regex", out var regex) ? regex.GetString() : null,
            _ => null,
        };
    }

    private void TakeAddedTokens()
    {
        foreach (var token in TokenizerSettings.Read(_folder).AddedTokens.Where(t => _texts[t.Id] is null))
            AddToken(token.Id, token.Content, token.Special);
    }

    private void AddToken(int id, string text, bool special)
    {
        if (_kinds[id] is (int)PieceKind.Unknown or (int)PieceKind.Byte)
            return;
        Set(id, text, (int)(special ? PieceKind.Control : PieceKind.UserDefined), _texts[id] is null ? -1000 : _scores[id]);
    }

    private void Set(int id, string text, int kind, float score) => (_texts[id], _kinds[id], _scores[id]) = (text, kind, score);

    private void AddUnknown(int id)
    {
        if (id >= 0)
            _keys.Add(("tokenizer.ggml.unknown_token_id", (uint)id));
    }

    private void Finish(ITokenizer tokenizer)
    {
        var names = _texts.OfType<string>().ToHashSet(StringComparer.Ordinal);
        for (var id = 0; id < _size; id++)
        {
            // Padding rows; engines require a name for each.
            _texts[id] ??= names.Add($"[PAD{id}]") ? $"[PAD{id}]" : $"<longlora unused {id}>";
        }
        _keys.Add(("tokenizer.ggml.tokens", _texts.Cast<string>().ToList()));
        _keys.Add(("tokenizer.ggml.scores", _scores.ToList()));
        _keys.Add(("tokenizer.ggml.token_type", _kinds.ToList()));
        void Id(string name, int? id)
        {
            if (id is { } known)
                _keys.Add(($"tokenizer.ggml.{name}_token_id", (uint)known));
        }
        Id("bos", tokenizer.BosTokenId);
        Id("eos", tokenizer.EosTokenId);
        Id("padding", tokenizer.PadTokenId);
        var around = tokenizer.Encode("a", addSpecial: true);
        _keys.Add(("tokenizer.ggml.add_bos_token", tokenizer.BosTokenId is { } bos && around[0] == bos));
        _keys.Add(("tokenizer.ggml.add_eos_token", tokenizer.EosTokenId is { } eos && around[^1] == eos && around.Count > 1));
        if (ChatTemplate() is { } template)
            _keys.Add(("tokenizer.chat_template", template));
    }

    private string? ChatTemplate()
    {
        var file = Path.Combine(_folder, "chat_template.jinja");
        if (File.Exists(file))
            return Utf8TextReader.ReadFile(file);
        using var config = TokenizerFiles.ReadJsonIfPresent(Path.Combine(_folder, "tokenizer_config.json"));
        if (config is null || !config.RootElement.TryGetProperty("chat_template", out var template))
            return null;
        // Several templates are a list of names and templates; 'default' is the one for chat.
        return template.ValueKind switch
        {
            JsonValueKind.String => template.GetString(),
            JsonValueKind.Array => template
                .EnumerateArray()
                .Where(t => t.GetProperty("name").GetString() == "default")
                .Select(t => t.GetProperty("template").GetString())
                .FirstOrDefault(),
            _ => null,
        };
    }
}
