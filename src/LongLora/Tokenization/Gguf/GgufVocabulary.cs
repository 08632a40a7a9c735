using System.Security.Cryptography;
using System.Text;
using LongLora.Checkpoints;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// What the metadata of a GGUF file says of its tokenizer (<c>tokenizer.ggml.*</c>) and its chat templates, checked. Where a key is
/// missing, the value is the one that llama.cpp takes.
/// </summary>
internal sealed record GgufVocabulary
{
    private const string Prefix = "tokenizer.ggml.";

    // Texts of tokens that end an answer, in the vocabularies of known families.
    private static readonly HashSet<string> s_ends = new(StringComparer.Ordinal)
    {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<EOT>",
        "[EOT]",
        "<end_of_utterance>",
        "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
    };

    /// <summary>The file, for messages.</summary>
    public required string File { get; init; }

    /// <summary><c>gpt2</c>, <c>llama</c>, <c>t5</c> or <c>gemma4</c>.</summary>
    public required string Model { get; init; }

    /// <summary>How a text is cut into words, of byte-level models.</summary>
    public GgufWordRule? Rule { get; init; }

    /// <summary>The written form of every token, by id.</summary>
    public required IReadOnlyList<string> Tokens { get; init; }

    /// <summary>What every token is.</summary>
    public required IReadOnlyList<PieceKind> Kinds { get; init; }

    /// <summary>Scores of SentencePiece tokens; zeros where the file has none.</summary>
    public required IReadOnlyList<float> Scores { get; init; }

    /// <summary>Merges of byte-level models, each two tokens with a space between.</summary>
    public IReadOnlyList<string> Merges { get; init; } = [];

    /// <summary>Begins a text.</summary>
    public int? Bos { get; init; }

    /// <summary>Ends a text.</summary>
    public int? Eos { get; init; }

    /// <summary>Ends an answer (<c>eot_token_id</c>).</summary>
    public int? EndOfTurn { get; init; }

    /// <summary>Ends a message to a tool (<c>eom_token_id</c>).</summary>
    public int? EndOfMessage { get; init; }

    /// <summary>Stands for what has no token.</summary>
    public int? Unknown { get; init; }

    /// <summary>Fills a batch up.</summary>
    public int? Padding { get; init; }

    /// <summary>Whether BOS is written in front of a text.</summary>
    public bool AddBos { get; init; }

    /// <summary>Whether EOS is written behind a text.</summary>
    public bool AddEos { get; init; }

    /// <summary>Whether a space is written in front of a text.</summary>
    public bool AddSpacePrefix { get; init; }

    /// <summary>Whether neighboring spaces become one, and those around a text none.</summary>
    public bool RemoveExtraWhitespaces { get; init; }

    /// <summary>SentencePiece's <c>precompiled_charsmap</c>; empty for none.</summary>
    public byte[] CharacterMap { get; init; } = [];

    /// <summary>Whether special tokens swallow the white space behind them, as in Phi-3.</summary>
    public bool SpecialTokensStripRight { get; init; }

    /// <summary>Chat templates by name; the model's own is <c>default</c>.</summary>
    public required IReadOnlyDictionary<string, string> ChatTemplates { get; init; }

    /// <summary>
    /// Tokens that end an answer: those that the file names, and control tokens whose text is known to end one in the families that have
    /// it. In GPT-OSS <c>&lt;|end|&gt;</c> only ends a part of an answer.
    /// </summary>
    public IReadOnlyList<int> Ends
    {
        get
        {
            var control = Tokens.Index().Where(t => Kinds[t.Index] == PieceKind.Control && s_ends.Contains(t.Item)).ToList();
            var isHarmony = control.Exists(t => t.Item == "<|return|>") && control.Exists(t => t.Item == "<|call|>");
            return
            [
                .. new[] { Eos, EndOfTurn, EndOfMessage }
                    .OfType<int>()
                    .Concat(control.Where(t => !isHarmony || t.Item != "<|end|>").Select(t => t.Index))
                    .Distinct(),
            ];
        }
    }

    /// <summary>
    /// What llama.cpp takes of it: of SentencePiece BPE it knows the space before a text, and no other rule that rewrites text.
    /// </summary>
    public GgufVocabulary ForEngines() => Model == "llama" ? this with { RemoveExtraWhitespaces = false, CharacterMap = [] } : this;

    /// <summary>A hash of everything that tokens and rendered conversations depend on.</summary>
    public string ComputeDigest()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        void Add(string text)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(text));
            hash.AppendData([0]);
        }
        Add($"{Model} {Bos} {Eos} {Unknown} {AddBos} {AddEos} {AddSpacePrefix} {RemoveExtraWhitespaces} {SpecialTokensStripRight}");
        foreach (var text in Rule?.Patterns.Append($"{Rule.WholeWords}") ?? [])
            Add(text);
        for (var id = 0; id < Tokens.Count; id++)
            Add($"{Tokens[id]} {Kinds[id]} {Scores[id]:R}");
        foreach (var merge in Merges)
            Add(merge);
        foreach (var (name, template) in ChatTemplates.OrderBy(t => t.Key, StringComparer.Ordinal))
            Add($"{name} {template}");
        hash.AppendData(CharacterMap);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Reads a file; null where it says that it has no tokenizer.</summary>
    /// <exception cref="CheckpointException">
    /// A key is missing or damaged, or the kind of tokenizer or its rule is not supported.
    /// </exception>
    public static GgufVocabulary? Read(GgufReader file)
    {
        var keys = new GgufMetadata(file);
        var model = keys.TextOrNull(Prefix + "model");
        if (model is null or "no_vocab" or "none")
            return null;
        if (model is not ("gpt2" or "llama" or "t5" or "gemma4"))
            throw keys.Bad(
                Prefix + "model",
                model,
                "supported are gpt2 (byte-level BPE), llama (SentencePiece), t5 (Unigram) and gemma4. Give a folder with the model's own "
                    + "tokenizer"
            );
        // A few vocabularies have rows without a token.
        var given = keys.ListOrNull<string>(Prefix + "tokens") ?? throw keys.Missing(Prefix + "tokens");
        string[] tokens = [.. given.Select((text, id) => text.Length > 0 ? text : $"[EMPTY_{id}]")];
        var rule = model == "gpt2" ? ReadRule(keys) : null;
        var isPieces = model == "llama";
        int? Id(string name, int? absent = null) =>
            (int?)keys.IntegerOrNull(Prefix + name) is not { } id ? absent
            : id < tokens.Length ? id
            : null;
        var vocabulary = new GgufVocabulary
        {
            File = file.Path,
            Model = model,
            Rule = rule,
            Tokens = tokens,
            Kinds = ReadKinds(keys, given),
            Scores = ReadScores(keys, tokens.Length),
            Merges = keys.ListOrNull<string>(Prefix + "merges")
                ?? (model is "gpt2" or "gemma4" ? throw keys.Missing(Prefix + "merges") : []),
            Bos = Id("bos_token_id", isPieces ? 1 : null),
            Eos = Id(
                "eos_token_id",
                isPieces ? 2
                    : model == "t5" ? 1
                    : null
            ),
            EndOfTurn = Id("eot_token_id"),
            EndOfMessage = Id("eom_token_id"),
            Unknown = Id(
                "unknown_token_id",
                isPieces ? 0
                    : model == "t5" ? 2
                    : null
            ),
            Padding = Id("padding_token_id"),
            AddBos = model == "gemma4" || (keys.FlagOrNull(Prefix + "add_bos_token") ?? (isPieces || rule is { AddsBos: true })),
            AddEos = keys.FlagOrNull(Prefix + "add_eos_token") ?? model == "t5",
            AddSpacePrefix = keys.FlagOrNull(Prefix + "add_space_prefix") ?? model is "llama" or "t5",
            RemoveExtraWhitespaces = keys.FlagOrNull(Prefix + "remove_extra_whitespaces") ?? false,
            CharacterMap = ReadCharacterMap(file, keys),
            SpecialTokensStripRight = isPieces && IsPhi3(file),
            ChatTemplates = ReadTemplates(file, keys),
        };
        vocabulary.Check();
        return vocabulary;
    }

    private void Check()
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < Tokens.Count; id++)
        {
            if (!seen.TryAdd(Tokens[id], id))
                throw new CheckpointException(
                    $"{File}: the tokens {seen[Tokens[id]]} and {id} are both '{Tokens[id]}'. Fetch or write the file again."
                );
        }
        if (AddBos && Bos is null)
            throw new CheckpointException($"{File}: a BOS token begins every text, but '{Prefix}bos_token_id' does not name it.");
        if (AddEos && Eos is null)
            throw new CheckpointException($"{File}: an EOS token ends every text, but '{Prefix}eos_token_id' does not name it.");
    }

    private static GgufWordRule ReadRule(GgufMetadata keys)
    {
        var name = keys.TextOrNull(Prefix + "pre") ?? "";
        return GgufWordRule.Find(name)
            ?? throw new CheckpointException(
                $"{keys.Path}: '{Prefix}pre' is '{name}', a rule for cutting words that is not known, and another rule would give other "
                    + $"tokens. Known are {string.Join(", ", GgufWordRule.Names)}.{NearestName.Hint(name, GgufWordRule.Names)} Give a "
                    + "folder with the model's own tokenizer."
            );
    }

    private static PieceKind[] ReadKinds(GgufMetadata keys, IReadOnlyList<string> tokens)
    {
        const string key = Prefix + "token_type";
        var numbers = keys.ListOrNull<int>(key) ?? [.. Enumerable.Repeat((int)PieceKind.Normal, tokens.Count)];
        if (numbers.Count < tokens.Count)
            throw keys.Bad(key, numbers.ToArray(), $"{tokens.Count} are needed, one a token");
        // 0 means undefined.
        return
        [
            .. tokens.Select(
                (text, id) =>
                    text.Length == 0 ? PieceKind.Unused
                    : Enum.IsDefined((PieceKind)numbers[id]) ? (PieceKind)numbers[id]
                    : PieceKind.Normal
            ),
        ];
    }

    private static float[] ReadScores(GgufMetadata keys, int count)
    {
        const string key = Prefix + "scores";
        if (!keys.Has(key))
            return new float[count];
        var scores = keys.ListOrNull<float>(key)!;
        return scores.Count >= count && scores.All(float.IsFinite)
            ? [.. scores.Take(count)]
            : throw keys.Bad(key, scores.ToArray(), $"{count} finite numbers are needed, one a token");
    }

    private static byte[] ReadCharacterMap(GgufReader file, GgufMetadata keys)
    {
        const string key = Prefix + "precompiled_charsmap";
        return file.Keys.GetValueOrDefault(key) switch
        {
            null => [],
            byte[] bytes => bytes,
            sbyte[] bytes => Array.ConvertAll(bytes, b => (byte)b),
            var other => throw keys.Bad(key, other, "a list of bytes is needed"),
        };
    }

    private static Dictionary<string, string> ReadTemplates(GgufReader file, GgufMetadata keys)
    {
        const string key = "tokenizer.chat_template";
        var templates = new Dictionary<string, string>(StringComparer.Ordinal);
        if (keys.TextOrNull(key) is { Length: > 0 } own)
            templates["default"] = own;
        foreach (var (name, value) in file.Keys)
        {
            if (name.StartsWith(key + ".", StringComparison.Ordinal) && value is string text)
                templates.TryAdd(name[(key.Length + 1)..], text);
        }
        return templates;
    }

    // GGUF does not say it of single tokens; engines know these models by their names, too.
    private static bool IsPhi3(GgufReader file)
    {
        bool Says(string key, params string[] parts) =>
            file.Keys.GetValueOrDefault(key) is string text && parts.Any(p => text.Contains(p, StringComparison.OrdinalIgnoreCase));
        return Says("general.architecture", "phi3") || Says("general.name", "phi-3", "phi3");
    }
}
