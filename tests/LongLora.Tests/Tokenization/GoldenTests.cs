using System.Text.Json;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>
/// Ids and texts computed by the references, Debian's sentencepiece 0.1.97 and Hugging Face's tokenizers 0.23.2, over small vocabularies
/// of our own.
/// </summary>
public class GoldenTests
{
    public static TheoryData<string> Models => [.. GoldenTokenizers.SentencePieceModels];

    public static TheoryData<string> Variants => [.. GoldenTokenizers.JsonVariants];

    [Theory]
    [MemberData(nameof(Models))]
    public void Encode_and_decode_with_a_SentencePiece_model_equal_sentencepiece(string name)
    {
        var tokenizer = GoldenTokenizers.Open(name);
        var golden = GoldenTokenizers.Read("sentencepiece.json");
        var texts = golden["texts"].Deserialize<string[]>()!;
        Assert.True(texts.Length > 30);
        for (var i = 0; i < texts.Length; i++)
        {
            var ids = GoldenTokenizers.Ids(golden[name]!["ids"]![i]);
            Equal(ids, tokenizer.Encode(texts[i]), texts[i]);
            Assert.Equal(golden[name]!["decoded"]![i]?.GetValue<string>() ?? texts[i], tokenizer.Decode(ids));
        }
    }

    [Fact]
    public void Encode_with_the_tokenizer_of_stories260K_equals_sentencepiece()
    {
        var tokenizer = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));
        Assert.Equal((512, 1, 2), (tokenizer.VocabularySize, tokenizer.BosTokenId, tokenizer.EosTokenId));
        var cases = GoldenTokenizers.Read("stories260K.json").AsArray();
        Assert.Equal(36, cases.Count);
        foreach (var item in cases)
            Equal(
                [1, .. GoldenTokenizers.Ids(item!["ids"])],
                tokenizer.Encode(item["text"]!.GetValue<string>(), addSpecial: true),
                item["text"]!.GetValue<string>()
            );
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public void Encode_and_decode_with_a_tokenizer_json_equal_Hugging_Face(string name)
    {
        var tokenizer = GoldenTokenizers.Open(name);
        var golden = GoldenTokenizers.Read("huggingface.json");
        var texts = golden["texts"].Deserialize<string[]>()!;
        Assert.True(texts.Length > 30);
        var cases = golden["variants"]![name]!;
        for (var i = 0; i < texts.Length; i++)
        {
            var special = GoldenTokenizers.Ids(cases["special"]![i]);
            Equal(special, tokenizer.Encode(texts[i], addSpecial: true, parseSpecial: true), texts[i]);
            Equal(cases["ordinary"]![i] is { } ordinary ? GoldenTokenizers.Ids(ordinary) : special, tokenizer.Encode(texts[i]), texts[i]);
            Assert.Equal(cases["decoded"]![i]?.GetValue<string>() ?? texts[i], tokenizer.Decode(special));
        }
    }

    [Fact]
    public void Encode_with_tokenizer_json_and_tokenizer_model_of_one_vocabulary_gives_the_same_ids()
    {
        // characters.model.json is bpe.model, converted; without symbols of the user, which only the model finds by itself.
        var (json, model) = (GoldenTokenizers.Open("mistral"), GoldenTokenizers.Open("bpe"));
        foreach (var text in GoldenTokenizers.Read("huggingface.json")["texts"].Deserialize<string[]>()!)
        {
            if (!text.Contains("whale", StringComparison.Ordinal) && !text.Contains("<think>", StringComparison.Ordinal))
                Equal(model.Encode(text, addSpecial: true), json.Encode(text, addSpecial: true), text);
        }
    }

    private static void Equal(IReadOnlyList<int> expected, IReadOnlyList<int> actual, string text) =>
        Assert.True(
            expected.SequenceEqual(actual),
            $"{JsonSerializer.Serialize(text)}: {string.Join(' ', expected)}, but {string.Join(' ', actual)}"
        );
}
