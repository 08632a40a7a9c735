using System.Text;
using System.Text.Json;
using CsCheck;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public class TokenTextTests
{
    public static TheoryData<string> All => [.. GoldenTokenizers.SentencePieceModels, .. GoldenTokenizers.JsonVariants];

    [Theory]
    [MemberData(nameof(All))]
    public void Bytes_of_all_tokens_are_the_decoded_text(string name)
    {
        var tokenizer = GoldenTokenizers.Open(name);
        RequireText(tokenizer, GoldenTokenizers.Read("huggingface.json")["texts"].Deserialize<string[]>()!);
        Gen.Int[0, tokenizer.VocabularySize].Array[0, 40].Sample(ids => RequireText(tokenizer, ids), iter: 300);
    }

    [Theory]
    [InlineData("stories260K", "tokenizer.model")]
    [InlineData("llama2", "tokenizer.model")]
    [InlineData("llama2", "tokenizer.json")]
    [InlineData("llama3", "tokenizer.json")]
    [InlineData("gpt_neox", "tokenizer.json")]
    [InlineData("qwen3", "tokenizer.json")]
    public void Bytes_of_all_tokens_of_a_published_tokenizer_are_the_decoded_text(string folder, string file)
    {
        var tokenizer = Tokenizers.Open(folder, file);
        RequireText(
            tokenizer,
            [" there", "there", "  two  spaces ", "na\u00efve \U0001F999\U0001F469\u200D\U0001F467 \u4e2d\u6587", "<s>\n\tx"]
        );
        Gen.Int[0, tokenizer.VocabularySize].Array[0, 40].Sample(ids => RequireText(tokenizer, ids), iter: 300);
    }

    [Fact]
    public void Write_keeps_the_space_before_a_word_and_tells_parts_of_characters_apart()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        var ids = tokenizer.Encode("the sea");
        Assert.Equal(" the sea", string.Concat(ids.Select(id => TokenText.Write(tokenizer, id))));
        Assert.StartsWith(" ", TokenText.Write(tokenizer, ids[0]), StringComparison.Ordinal);
        Assert.Equal(@"bytes:\xf0", TokenText.Write(tokenizer, tokenizer.FindToken("<0xF0>")!.Value));
        Assert.Equal("A", TokenText.Write(tokenizer, tokenizer.FindToken("<0x41>")!.Value));
        Assert.Equal("", TokenText.Write(tokenizer, tokenizer.VocabularySize));
    }

    // A space alone has no text when it is decoded alone.
    [Fact]
    public void Only_special_tokens_are_control_tokens()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        Assert.True(TokenText.IsControl(tokenizer, tokenizer.BosTokenId!.Value));
        Assert.False(TokenText.IsControl(tokenizer, tokenizer.FindToken("\u2581")!.Value));
        Assert.False(TokenText.IsControl(tokenizer, tokenizer.VocabularySize));
    }

    private static void RequireText(ITokenizer tokenizer, IEnumerable<string> texts)
    {
        foreach (var text in texts)
            RequireText(tokenizer, [.. tokenizer.Encode(text, addSpecial: true)]);
    }

    // But for the spaces that a tokenizer writes before a text.
    private static void RequireText(ITokenizer tokenizer, int[] ids)
    {
        var joined = Encoding.UTF8.GetString([.. ids.SelectMany(id => TokenText.GetBytes(tokenizer, id))]);
        var decoded = tokenizer.Decode(ids, skipSpecial: false);
        Assert.EndsWith(decoded, joined, StringComparison.Ordinal);
        Assert.Equal("", joined[..^decoded.Length].Trim(' '));
        foreach (
            var id in ids.Where(id => TokenText.Write(tokenizer, id) is var own && !own.StartsWith("bytes:", StringComparison.Ordinal))
        )
            Assert.Equal(TokenText.GetBytes(tokenizer, id), Encoding.UTF8.GetBytes(TokenText.Write(tokenizer, id)));
    }
}
