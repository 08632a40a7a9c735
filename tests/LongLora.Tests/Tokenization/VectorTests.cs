using System.Text.Json;

namespace LongLora.Tests.Tokenization;

/// <summary>
/// Ids computed by others: llama.cpp's own test cases, and sentencepiece. The vocabularies are their vendors', so they lie beside the
/// project.
/// </summary>
public class VectorTests
{
    private const string Separator = "\n__ggml_vocab_test__\n";

    [Theory]
    // The vectors of phi-3 and MPT use the vocabularies of Llama 2 and GPT-NeoX, those of DeepSeek-R1 that of Qwen.
    [InlineData("llama2", "tokenizer.model", "llama-spm")]
    [InlineData("llama2", "tokenizer.model", "phi-3")]
    [InlineData("llama3", "tokenizer.json", "llama-bpe")]
    [InlineData("gpt_neox", "tokenizer.json", "mpt")]
    [InlineData("qwen3", "tokenizer.json", "qwen2")]
    [InlineData("qwen3", "tokenizer.json", "deepseek-r1-qwen")]
    public void Encode_llama_cpp_cases_gives_their_ids(string folder, string file, string vectors)
    {
        var tokenizer = Tokenizers.Open(folder, file);
        var texts = File.ReadAllText(SharedMaterial.Shared("tokenizers", "vectors", $"ggml-vocab-{vectors}.gguf.inp")).Split(Separator)[
            ..^1
        ];
        var expected = File.ReadAllLines(SharedMaterial.Shared("tokenizers", "vectors", $"ggml-vocab-{vectors}.gguf.out"));
        Assert.Equal((46, 46), (texts.Length, expected.Length));
        for (var i = 0; i < texts.Length; i++)
        {
            var ids = expected[i].Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse);
            Assert.True(
                ids.SequenceEqual(tokenizer.Encode(texts[i])),
                $"case {i}: {JsonSerializer.Serialize(texts[i])}: {expected[i]}, but {string.Join(' ', tokenizer.Encode(texts[i]))}"
            );
        }
    }

    [Theory]
    [InlineData("llama2", "tokenizer.model", "sentencepiece_vectors.json", "llama2")]
    [InlineData("stories260K", "tokenizer.model", "sentencepiece_vectors.json", "tok512")]
    [InlineData("llama2", "tokenizer.model", "llama_cpp_spm_vectors.json", "ids")]
    public void Encode_sentencepiece_cases_gives_their_ids(string folder, string file, string vectors, string key)
    {
        var tokenizer = Tokenizers.Open(folder, file);
        using var document = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Shared("tokenizers", "vectors", vectors)));
        foreach (var item in document.RootElement.EnumerateArray())
        {
            var text = item.GetProperty("text").GetString()!;
            var ids = item.GetProperty(key).EnumerateArray().Select(id => id.GetInt32()).ToArray();
            Assert.True(
                ids.SequenceEqual(tokenizer.Encode(text)),
                $"{JsonSerializer.Serialize(text)}: {string.Join(' ', ids)}, but {string.Join(' ', tokenizer.Encode(text))}"
            );
        }
    }
}
