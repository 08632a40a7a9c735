using System.Text;
using System.Text.Json;
using LongLora.Tokenization;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tests.Tokenization;

/// <summary>Added tokens of every flag, against Hugging Face's tokenizers 0.23.2 (Goldens/tokenizers/added_tokens.json).</summary>
public class AddedTokenTests
{
    private static readonly Lazy<JsonElement> s_golden = new(() =>
        JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("tokenizers", "added_tokens.json"))).RootElement
    );

    private static readonly Lazy<ITokenizer> s_tokenizer = new(() =>
    {
        using var folder = new TemporaryFolder();
        folder.Text("tokenizer.json", s_golden.Value.GetProperty("tokenizer").GetRawText());
        return TokenizerLoader.Load(folder.Root);
    });

    private static int[] Bytes(string text) => [.. Encoding.UTF8.GetBytes(text).Select(b => (int)b)];

    [Fact]
    public void Encode_random_texts_equals_hugging_face()
    {
        var wrong = new List<string>();
        foreach (var golden in s_golden.Value.GetProperty("cases").EnumerateArray())
        {
            var text = golden.GetProperty("text").GetString()!;
            int[] expected = [.. golden.GetProperty("ids").EnumerateArray().Select(i => i.GetInt32())];
            // Also as a template would write the text: special tokens are found first, and the rest apart.
            var (masked, _) = MaskedEncoding.Encode(s_tokenizer.Value, MarkedText.Of(text), []);
            foreach (var seen in new[] { s_tokenizer.Value.Encode(text, parseSpecial: true), masked })
            {
                if (!seen.SequenceEqual(expected))
                    wrong.Add($"{JsonSerializer.Serialize(text)}: {string.Join(' ', seen)}; expected {string.Join(' ', expected)}");
            }
        }
        Assert.True(wrong.Count == 0, $"{wrong.Count} differ\n" + string.Join('\n', wrong.Take(8)));
    }

    [Theory]
    [InlineData("a word b", new[] { 97, 32, 258, 32, 98 })]
    [InlineData("x[T]  y", new[] { 120, 259, 262, 121 })]
    [InlineData("x[T] y", new[] { 120, 259, 121 })]
    public void Encode_finds_words_and_spaces_behind_tokens(string text, int[] expected) =>
        Assert.Equal(expected, s_tokenizer.Value.Encode(text));

    [Theory]
    [InlineData("word\u0301")]
    [InlineData("\u2167word")]
    [InlineData("word\u093E")]
    [InlineData("word\u200D")]
    [InlineData("\u24D0word")]
    public void Encode_takes_a_single_word_only_between_other_characters(string text) =>
        Assert.Equal(Bytes(text), s_tokenizer.Value.Encode(text));
}
