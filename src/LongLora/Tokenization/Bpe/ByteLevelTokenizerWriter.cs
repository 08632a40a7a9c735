using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Writes a byte-level BPE tokenizer as <c>tokenizer.json</c> with <c>tokenizer_config.json</c>, which Hugging Face's tokenizers and <see
/// cref="TokenizerLoader"/> read. Id 0 begins a text, id 1 ends it, 2 to 257 are the bytes, and then come the merges in order.
/// </summary>
internal static class ByteLevelTokenizerWriter
{
    /// <summary>The token that begins every text.</summary>
    public const string Bos = "<s>";

    /// <summary>The token that ends a text.</summary>
    public const string Eos = "</s>";

    /// <summary>
    /// How a text is split into words while merges are learned: as in GPT-2, but numbers are split every two digits from their start and
    /// without the space before. So no token has more than two digits, or a digit behind a space, and a number is always the same few
    /// tokens, which makes it easy to copy from far away.
    /// </summary>
    public const string LearnedPattern = @"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private const int Reserved = 2;

    private static readonly JsonSerializerOptions s_style = new()
    {
        WriteIndented = true,
        IndentSize = 1,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Number of merges in a vocabulary of that size.</summary>
    /// <exception cref="ConfigurationException">It is too small for the bytes.</exception>
    public static int CountMerges(int vocabularySize) =>
        vocabularySize >= Reserved + 256
            ? vocabularySize - Reserved - 256
            : throw new ConfigurationException(
                $"vocabulary-size is {vocabularySize}, but the bytes, {Bos} and {Eos} already need {Reserved + 256} ids."
            );

    /// <summary>Writes the two files into a folder, which may contain others.</summary>
    /// <param name="folder">The folder. It is created if it does not exist.</param>
    /// <param name="merges">The merges, as <see cref="BpeTrainer.Train"/> returns them.</param>
    public static void Write(string folder, IReadOnlyList<(int Left, int Right)> merges)
    {
        var tokens = Enumerable.Range(0, 256).Select(b => ByteAlphabet.GetCharacter((byte)b).ToString()).ToList();
        foreach (var (left, right) in merges)
            tokens.Add(tokens[left] + tokens[right]);
        AtomicFile.Guard(folder, () => Directory.CreateDirectory(folder));
        AtomicFile.WriteText(Path.Combine(folder, "tokenizer.json"), ToText(Tokenizer(tokens, merges)));
        AtomicFile.WriteText(
            Path.Combine(folder, "tokenizer_config.json"),
            ToText(
                new JsonObject
                {
                    ["tokenizer_class"] = "PreTrainedTokenizerFast",
                    ["bos_token"] = Bos,
                    ["eos_token"] = Eos,
                    ["clean_up_tokenization_spaces"] = false,
                }
            )
        );
    }

    internal static WordSplitter MakeSplitter() =>
        new([new SplitRule(new Regex(LearnedPattern, RegexOptions.Compiled | RegexOptions.CultureInvariant), SplitBehavior.Isolated)]);

    private static string ToText(JsonObject root) => PythonNumber.KeepFloats(root)!.ToJsonString(s_style) + "\n";

    private static JsonObject Tokenizer(List<string> tokens, IReadOnlyList<(int Left, int Right)> merges)
    {
        var vocabulary = new JsonObject { [Bos] = 0, [Eos] = 1 };
        for (var i = 0; i < tokens.Count; i++)
            vocabulary[tokens[i]] = Reserved + i;
        return new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = new JsonArray(DescribeAddedToken(0, Bos), DescribeAddedToken(1, Eos)),
            ["normalizer"] = null,
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject
                    {
                        ["type"] = "Split",
                        // GPT-2's own rule, which engines know by name.
                        ["pattern"] = new JsonObject { ["Regex"] = TokenizerJsonPipeline.Gpt2Pattern },
                        ["behavior"] = "Isolated",
                        ["invert"] = false,
                    },
                    DescribeByteLevel()
                ),
            },
            ["post_processor"] = DescribeTemplate(),
            ["decoder"] = DescribeByteLevel(),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["continuing_subword_prefix"] = null,
                ["end_of_word_suffix"] = null,
                ["fuse_unk"] = false,
                ["byte_fallback"] = false,
                ["ignore_merges"] = false,
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray([.. merges.Select(m => (JsonNode)new JsonArray(tokens[m.Left], tokens[m.Right]))]),
            },
        };
    }

    private static JsonObject DescribeAddedToken(int id, string content) =>
        new()
        {
            ["id"] = id,
            ["content"] = content,
            ["single_word"] = false,
            ["lstrip"] = false,
            ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = true,
        };

    private static JsonObject DescribeByteLevel() =>
        new()
        {
            ["type"] = "ByteLevel",
            ["add_prefix_space"] = false,
            ["trim_offsets"] = true,
            ["use_regex"] = false,
        };

    private static JsonObject DescribeTemplate()
    {
        static JsonObject Token() =>
            new()
            {
                ["SpecialToken"] = new JsonObject { ["id"] = Bos, ["type_id"] = 0 },
            };
        static JsonObject Sequence(string id) =>
            new()
            {
                ["Sequence"] = new JsonObject { ["id"] = id, ["type_id"] = 0 },
            };
        return new JsonObject
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray(Token(), Sequence("A")),
            ["pair"] = new JsonArray(Token(), Sequence("A"), Sequence("B")),
            ["special_tokens"] = new JsonObject
            {
                [Bos] = new JsonObject
                {
                    ["id"] = Bos,
                    ["ids"] = new JsonArray(0),
                    ["tokens"] = new JsonArray(Bos),
                },
            },
        };
    }
}
