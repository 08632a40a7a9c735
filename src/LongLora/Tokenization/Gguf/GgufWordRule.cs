using System.Text.RegularExpressions;

namespace LongLora.Tokenization;

/// <summary>
/// How a byte-level tokenizer of GGUF cuts a text into words: <c>tokenizer.ggml.pre</c> names one of the rules that engines have built in.
/// The patterns are those of the models' own <c>tokenizer.json</c>, one after the other on the words that the one before it has left.
/// </summary>
/// <param name="Patterns">The patterns.</param>
/// <param name="WholeWords">Whether a word that is a token is that token, however the merges would build it.</param>
/// <param name="AddsBos">Whether BOS comes in front of a text where the file does not say.</param>
internal sealed record GgufWordRule(IReadOnlyList<string> Patterns, bool WholeWords = false, bool AddsBos = false)
{
    /// <summary>GPT-2's pattern, which ByteLevel in a <c>tokenizer.json</c> has built in.</summary>
    public const string Gpt2 = TokenizerJsonPipeline.Gpt2Pattern;

    /// <summary>Every digit a word of its own: Digits in a <c>tokenizer.json</c>.</summary>
    public const string Digit = @"\p{N}";

    private const string Contractions = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        Words = Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|",
        Rest = @"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Llama3 = Words + @"\p{N}{1,3}" + Rest,
        Qwen2 = Words + @"\p{N}" + Rest;

    // A letter that begins a word, one that goes on, and words of upper and lower case apart (OpenAI's o200k and Mistral's Tekken).
    private const string First = @"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
        Next = @"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
        Before = @"[^\r\n\p{L}\p{N}]?",
        RestWithSlash = @"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        Tekken = $"{Before}{First}*{Next}+|{Before}{First}+{Next}*|" + @"\p{N}" + RestWithSlash,
        O200k = $"{Before}{First}*{Next}+{Contractions}?|{Before}{First}+{Next}*{Contractions}?|" + @"\p{N}{1,3}" + RestWithSlash;

    private const string DeepSeek3 =
        @"[!""#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        + @"|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Marks =
        Contractions + @"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string SeedCoder = Contractions + @"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Korean =
        Contractions + @"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";

    // The first name of each rule is the one that is written.
    private static readonly (string[] Names, GgufWordRule Rule)[] s_all =
    [
        (["gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "granite-docling", "a.x-4.0", "mellum", "gigachat"], new([Gpt2])),
        (
            ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
            new([Llama3], WholeWords: true, AddsBos: true)
        ),
        (["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"], new([Llama3])),
        (["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "stablelm2", "hunyuan", "solar-open", "grok-2"], new([Qwen2])),
        (["qwen35"], new([Marks])),
        (["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"], new([Digit, Gpt2])),
        (["tekken"], new([Tekken], WholeWords: true, AddsBos: true)),
        (["gpt-4o", "llama4", "kanana2", "minimax-m2"], new([O200k])),
        (["deepseek-v3", "hunyuan-dense", "joyai-llm"], new([@"\p{N}{1,3}", @"[一-龥぀-ゟ゠-ヿ]+", DeepSeek3])),
        (["deepseek-coder"], new([@"[\r\n]", @"\s?\p{L}+", @"\s?\p{P}+", @"[一-龥ࠀ-一가-퟿]+", Digit])),
        (["seed-coder"], new([SeedCoder])),
        (["tiny_aya", "cohere2moe"], new([@"\d{1,3}(?=(?:\d{3})*\b)", O200k])),
        (["minicpm5"], new([@"\p{N}{1,3}", Words + @"\p{N}+" + Rest], WholeWords: true)),
        (["exaone-moe"], new([Korean])),
        (["falcon"], new([@"[\p{P}\$\+<=>\^~\|`]+", Gpt2, "[0-9][0-9][0-9]"])),
        (["default", ""], new([@"[\p{P}\$\+<=>\^~\|]+", Gpt2, @"\p{N}+", "[0-9][0-9][0-9]"])),
    ];

    /// <summary>The names of the rules.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. s_all.SelectMany(r => r.Names).Where(n => n.Length > 0)];

    /// <summary>The rule of a name, or null where it is not known.</summary>
    public static GgufWordRule? Find(string name) => Array.Find(s_all, r => r.Names.Contains(name)).Rule;

    /// <summary>
    /// The name of the rule with these patterns, if possible one that also agrees on whole words; null where there is none.
    /// </summary>
    public static string? NameOf(IReadOnlyList<string> patterns, bool wholeWords)
    {
        var same = s_all.Where(r => r.Rule.Patterns.SequenceEqual(patterns)).ToList();
        return same.Where(r => r.Rule.WholeWords == wholeWords).Concat(same).Select(r => r.Names[0]).FirstOrDefault();
    }

    /// <summary>Cuts by the patterns.</summary>
    public WordSplitter Splitter() =>
        new([
            .. Patterns.Select(p => new SplitRule(
                new Regex(p, RegexOptions.Compiled | RegexOptions.CultureInvariant),
                SplitBehavior.Isolated
            )),
        ]);
}
