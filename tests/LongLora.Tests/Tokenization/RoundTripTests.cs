using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>Real vocabularies on real books; the material lies beside the project.</summary>
public class RoundTripTests
{
    [Theory]
    [InlineData("llama2", "tokenizer.model")]
    [InlineData("llama2", "tokenizer.json")]
    [InlineData("llama3", "tokenizer.json")]
    [InlineData("gpt_neox", "tokenizer.json")]
    [InlineData("qwen3", "tokenizer.json")]
    public void Decode_of_an_encoded_text_gives_the_text(string folder, string file)
    {
        var tokenizer = Tokenizers.Open(folder, file);
        foreach (var text in Sample())
        {
            // GPT-NeoX and Qwen compose characters.
            var expected = folder is "gpt_neox" or "qwen3" ? TextStep.Rewrite(CanonicalForm.C, text) : text;
            Assert.Equal(expected, tokenizer.Decode(tokenizer.Encode(text).ToArray()));
        }
    }

    [Theory]
    [InlineData("llama2")]
    [InlineData("tok512")]
    public void Encode_of_a_book_gives_the_ids_of_LongLoRAs_token_file(string vocabulary)
    {
        var tokenizer = Tokenizers.Open(vocabulary == "llama2" ? "llama2" : "stories260K", "tokenizer.model");
        var expected = File.ReadAllBytes(SharedMaterial.Shared("data", "books", "bin", $"test_{vocabulary}.bin"));
        var book = File.ReadAllText(SharedMaterial.Shared("data", "books", "test", "Anne_Bronte_The_Tenant_of_Wildfell_Hall.txt"));
        var ids = tokenizer.Encode(book, addSpecial: true);
        Assert.True(ids.Count > 200_000);
        for (var i = 0; i < ids.Count; i++)
            Assert.True(ids[i] == BinaryPrimitives.ReadUInt16LittleEndian(expected.AsSpan(2 * i)), $"token {i}");
        Assert.Equal(1, BinaryPrimitives.ReadUInt16LittleEndian(expected.AsSpan(2 * ids.Count)));
    }

    [Fact]
    public void Encode_of_instructions_gives_the_ids_of_transformers()
    {
        var tokenizer = Tokenizers.Open("llama2", "tokenizer.model");
        using var document = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "sft_vectors.json")));
        foreach (var example in document.RootElement.EnumerateArray())
        {
            var ids = example.GetProperty("input_ids").EnumerateArray().Select(id => id.GetInt32()).ToArray();
            var text = tokenizer.Decode(ids, skipSpecial: false);
            Assert.StartsWith("<s> [INST]", text, StringComparison.Ordinal);
            Assert.EndsWith(example.GetProperty("output").GetString() + "</s>", text, StringComparison.Ordinal);
            Assert.Equal(ids, tokenizer.Encode(text.AsSpan("<s> ".Length), addSpecial: true, parseSpecial: true));
        }
    }

    /// <summary>Pieces of three books and of every kind of proof.</summary>
    private static IEnumerable<string> Sample()
    {
        string[] files =
        [
            .. Directory.GetFiles(SharedMaterial.Shared("data", "books", "validation"), "*.txt").Order(StringComparer.Ordinal).Take(3),
            .. Directory
                .GetFiles(SharedMaterial.Shared("data", "proofs"), "*", SearchOption.AllDirectories)
                .Where(f => !f.EndsWith(".json", StringComparison.Ordinal))
                .Order(StringComparer.Ordinal)
                .Where((_, i) => i % 20 == 0),
        ];
        return files.Select(file => File.ReadAllText(file, Encoding.UTF8)).Select(text => text[..Math.Min(text.Length, 60_000)]);
    }
}
