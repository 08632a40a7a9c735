using System.Text;
using System.Text.Json;
using CsCheck;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public class StreamingDecoderTests
{
    public static TheoryData<string> All => [.. GoldenTokenizers.SentencePieceModels, .. GoldenTokenizers.JsonVariants];

    [Theory]
    [MemberData(nameof(All))]
    public void Append_of_every_id_gives_the_decoded_text_in_whole_characters(string name)
    {
        var tokenizer = GoldenTokenizers.Open(name);
        foreach (var text in GoldenTokenizers.Read("huggingface.json")["texts"].Deserialize<string[]>()!)
        {
            var ids = tokenizer.Encode(text, addSpecial: true).ToArray();
            var whole = tokenizer.Decode(ids);
            var decoder = new StreamingDecoder(tokenizer);
            var streamed = new StringBuilder();
            foreach (var id in ids)
            {
                streamed.Append(decoder.Append(id));
                Assert.StartsWith(streamed.ToString(), whole, StringComparison.Ordinal);
                Assert.False(streamed.Length > 0 && char.IsHighSurrogate(streamed[^1]));
            }
            Assert.Equal(whole, streamed.Append(decoder.Finish()).ToString());
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Append_of_random_ids_gives_the_decoded_text(string name)
    {
        // Mostly bytes that are no characters: what an untrained model says.
        var tokenizer = GoldenTokenizers.Open(name);
        Gen.Select(Gen.Int[0, tokenizer.VocabularySize - 1].Array[0, 80], Gen.Bool)
            .Sample(
                (ids, skipSpecial) =>
                {
                    var decoder = new StreamingDecoder(tokenizer, skipSpecial);
                    var streamed = string.Concat(ids.Select(decoder.Append)) + decoder.Finish();
                    Assert.Equal(tokenizer.Decode(ids, skipSpecial), streamed);
                },
                iter: 300
            );
    }

    [Fact]
    public void Append_of_a_character_in_bytes_gives_it_with_the_last_byte()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        var decoder = new StreamingDecoder(tokenizer);
        var bytes = "\U0001F999"u8.ToArray().Select(b => tokenizer.FindToken($"<0x{b:X2}>")!.Value);
        Assert.Equal(["", "", "", "\U0001F999"], bytes.Select(decoder.Append));
        Assert.Equal("", decoder.Append(tokenizer.FindToken("<0xF0>")!.Value));
        Assert.Equal("\uFFFD", decoder.Finish());
    }

    [Fact]
    public void Append_after_a_context_keeps_the_space_between_them()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        var ids = tokenizer.Encode("the sea the sea").ToArray();
        var prompt = tokenizer.Encode("the sea").Count;
        var fresh = new StreamingDecoder(tokenizer);
        Assert.Equal("the sea", string.Concat(ids[prompt..].Select(fresh.Append)));
        var following = new StreamingDecoder(tokenizer, context: ids.AsSpan(0, prompt));
        Assert.Equal(" the sea", string.Concat(ids[prompt..].Select(following.Append)));
    }
}
