using System.Text.RegularExpressions;
using CsCheck;
using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public sealed partial class DocumentTokenizerTests
{
    private const int Piece = 512;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Encode_pieces_equal_the_whole_on_any_text_with_spaces(bool dummyPrefix)
    {
        var tokenizer = new StretchTokenizer(dummyPrefix);
        string[] parts =
        [
            "a",
            "the",
            "Hawaiʻi",
            "12345",
            "end.",
            "\n",
            "\n\n",
            "  ",
            " ",
            "\t",
            " \n ",
            "\r\n",
            "😀",
            "---",
            "naïve",
            "don't",
            "日本語",
        ];
        var picks = Gen.Int[0, parts.Length - 1].Array[0, 1500];
        picks.Sample(PiecesEqualWhole, iter: 300);
        picks.Sample(PiecesEqualWhole, seed: "es1Fj25xgqV1", iter: 1); // its words were longer than the places that were tried
        return;

        bool PiecesEqualWhole(int[] chosen)
        {
            var text = string.Concat(chosen.Select((pick, i) => i % 3 == 0 ? parts[pick] + " " : parts[pick]));
            return Pieces(tokenizer, text).SelectMany(ids => ids).SequenceEqual(Whole(tokenizer, text));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(Piece - 2)]
    [InlineData(Piece - 1)]
    [InlineData(Piece)]
    [InlineData(Piece + 1)]
    [InlineData(10 * Piece)]
    public void Encode_lengths_at_the_edge_of_a_piece_lose_nothing(int length)
    {
        var tokenizer = new StretchTokenizer(dummyPrefix: true);
        var text = string.Concat(Enumerable.Range(0, length).Select(i => i % 5 == 4 ? ' ' : (char)('a' + i % 26)));
        Assert.Equal(Whole(tokenizer, text), Pieces(tokenizer, text).SelectMany(ids => ids));
    }

    // Words longer than the places that are tried, and between them neither a single line end nor a single space.
    [Theory]
    [InlineData(false, "naïveHawaiʻinaïve  \n")]
    [InlineData(true, "naïveHawaiʻinaïve  \n")]
    [InlineData(true, "incomprehensibilities\t")]
    [InlineData(false, "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少，")]
    [InlineData(true, "12345678901234567890x")]
    public void Encode_pieces_equal_the_whole_where_words_are_long_and_no_space_stands_alone(bool dummyPrefix, string part)
    {
        var tokenizer = new StretchTokenizer(dummyPrefix);
        var text = string.Concat(Enumerable.Repeat(part, 4000 / part.Length));
        Assert.Equal(Whole(tokenizer, text), Pieces(tokenizer, text).SelectMany(ids => ids));
    }

    [Fact]
    public void Encode_text_that_cannot_be_cut_still_ends_and_differs_only_at_the_seams()
    {
        // One word is one stretch however long: no cut passes, and each piece becomes a stretch of its own.
        var tokenizer = new StretchTokenizer(dummyPrefix: false);
        var pieces = Pieces(tokenizer, new string('a', 3000) + " b");
        Assert.True(pieces.Count > 4);
        Assert.Equal(tokenizer.Encode(" b"), pieces[^1].TakeLast(1));
    }

    [Theory]
    [InlineData("models", "stories260K-hf")]
    [InlineData("tokenizers", "llama2")]
    [InlineData("tokenizers", "llama3")]
    [InlineData("tokenizers", "qwen3")]
    [InlineData("tokenizers", "gpt_neox")]
    public void Encode_book_in_pieces_equals_the_book_encoded_whole(string room, string name)
    {
        var tokenizer = TokenizerLoader.Load(room == "tokenizers" ? SharedMaterial.Tokenizer(name) : SharedMaterial.Shared(room, name));
        var text = File.ReadAllText(SharedMaterial.Shared("data", "books", "train", "Charlotte_Bronte_Shirley.txt"));
        var whole = tokenizer.Encode(text, addSpecial: true);
        // As the library cuts, then in several hundred pieces.
        foreach (var length in new[] { 1 << 18, 4096 })
        {
            var pieces = new DocumentTokenizer(tokenizer, length).Encode(new StringReader(text)).ToList();
            Assert.True(pieces.Count > text.Length / length);
            Assert.Equal(whole, pieces.SelectMany(ids => ids));
        }
    }

    private static List<IReadOnlyList<int>> Pieces(ITokenizer tokenizer, string text) =>
        [.. new DocumentTokenizer(tokenizer, Piece).Encode(new StringReader(text))];

    private static IReadOnlyList<int> Whole(ITokenizer tokenizer, string text) =>
        text.Length == 0 ? [] : tokenizer.Encode(text, addSpecial: true);

    /// <summary>
    /// One id for each stretch that GPT-2's pre-tokenizer finds, so that a cut in the wrong place shows at once; with
    /// <paramref name="dummyPrefix"/> a space goes in front of every text, as Llama 2's tokenizer does, and EOS behind it.
    /// </summary>
    private sealed partial class StretchTokenizer(bool dummyPrefix) : ITokenizer
    {
        public int VocabularySize => 1 << 30;

        public int? BosTokenId => 1;

        public int? EosTokenId => 2;

        public int? PadTokenId => null;

        public IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false)
        {
            var input = (dummyPrefix && text.Length > 0 ? " " : "") + text.ToString();
            var ids = Stretch().Matches(input).Select(match => 3 + (int)(Hash(match.ValueSpan) % (1 << 29)));
            return addSpecial ? [1, .. ids, .. dummyPrefix ? [2] : Array.Empty<int>()] : [.. ids];
        }

        public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true) => throw new NotSupportedException();

        public int? FindToken(string token) => null;

        private static uint Hash(ReadOnlySpan<char> text)
        {
            var hash = 2166136261;
            foreach (var character in text)
                hash = (hash ^ character) * 16777619;
            return hash;
        }

        [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")]
        private static partial Regex Stretch();
    }
}
