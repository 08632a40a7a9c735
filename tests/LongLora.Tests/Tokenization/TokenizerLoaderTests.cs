using System.Text.Json.Nodes;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>Which file is used, and what is said of those that cannot be.</summary>
public class TokenizerLoaderTests
{
    [Fact]
    public void Load_of_a_folder_without_a_tokenizer_names_what_is_missing()
    {
        using var folder = new TemporaryFolder();
        Assert.Null(TokenizerLoader.LoadIfPresent(folder.Root));
        Assert.Contains("tokenizer.json", Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root)).Message);
        Assert.Contains("nowhere", Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder["nowhere"])).Message);
    }

    private static string Both(TemporaryFolder folder, string vocabulary, params (int Id, string Content)[] added)
    {
        GoldenTokenizers.Write(folder, "bpe");
        var tokens = added.Select(t => $$"""{"id": {{t.Id}}, "content": "{{t.Content}}", "special": true}""");
        return folder.Text(
            "tokenizer.json",
            $$$"""{"added_tokens": [{{{string.Join(", ", tokens)}}}], "decoder": {"type": "Fuse"}, "model": {"type": "BPE", "vocab": {{{vocabulary}}}, "merges": []}}"""
        );
    }

    [Fact]
    public void Load_of_a_folder_with_both_files_takes_the_tokens_that_only_the_json_has()
    {
        var bpe = GoldenTokenizers.Open("bpe");
        var count = bpe.VocabularySize;
        using var folder = new TemporaryFolder();
        Both(folder, """{"<unk>": 0}""", (count, "<|im_start|>"), (count + 1, "<|im_end|>"));
        var tokenizer = TokenizerLoader.Load(folder.Root);
        Assert.Equal(count + 2, tokenizer.VocabularySize);
        Assert.Equal((count, count + 1), (tokenizer.FindToken("<|im_start|>"), tokenizer.FindToken("<|im_end|>")));
        Assert.Equal([count], tokenizer.Encode("<|im_start|>", parseSpecial: true));
        Assert.Equal(bpe.Encode("the sea"), tokenizer.Encode("the sea"));
        // Other files may list them too, with the same id.
        folder.Text("added_tokens.json", $$"""{"<|im_end|>": {{count + 1}}, "<|more|>": {{count + 2}}}""");
        Assert.Equal(count + 3, TokenizerLoader.Load(folder.Root).VocabularySize);
    }

    [Fact]
    public void Load_of_a_folder_with_both_files_uses_the_larger_vocabulary()
    {
        var count = GoldenTokenizers.Open("bpe").VocabularySize;
        using var folder = new TemporaryFolder();
        Both(folder, $$"""{"<unk>": 0, "漢": {{count}}}""");
        Assert.Equal([count], TokenizerLoader.Load(folder.Root).Encode("漢"));
    }

    [Fact]
    public void Load_of_a_folder_whose_files_contradict_each_other_is_refused()
    {
        var bpe = GoldenTokenizers.Open("bpe");
        var last = bpe.VocabularySize - 1;
        using var folder = new TemporaryFolder();
        void AssertRefused(params string[] parts)
        {
            var message = Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root)).Message;
            Assert.All([.. parts, "tokenizer.json", "tokenizer.model", "Remove the file"], p => Assert.Contains(p, message));
        }
        Both(folder, $$"""{"<unk>": 0, "other": {{last}}}""");
        AssertRefused($"{last} is \"other\"");
        Both(folder, """{"<unk>": 0}""", (last, "<|x|>"));
        AssertRefused($"{last} is \"<|x|>\"");
        Both(folder, """{"<unk>": 0}""", (last + 2, "<|x|>"));
        folder.Text("added_tokens.json", $$"""{"<|x|>": {{last + 1}}}""");
        AssertRefused($"\"<|x|>\" the id {last + 2}", $"gives it {last + 1}");
        File.Delete(folder["added_tokens.json"]);
        GoldenTokenizers.Write(folder, "qwen");
        AssertRefused();
    }

    [Fact]
    public void Load_of_a_folder_whose_model_is_of_another_kind_uses_the_json()
    {
        using var folder = new TemporaryFolder();
        GoldenTokenizers.Write(folder, "qwen");
        folder.Text("tokenizer.model", "IQ== 0\nIg== 1\n");
        Assert.Equal(GoldenTokenizers.Open("qwen").Encode("the sea"), TokenizerLoader.Load(folder.Root).Encode("the sea"));
        File.Delete(folder["tokenizer.json"]);
        Assert.Contains("not a SentencePiece model", Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root)).Message);
    }

    [Fact]
    public void Load_of_an_unsupported_SentencePiece_model_uses_the_json_where_there_is_one()
    {
        using var folder = new TemporaryFolder();
        // The first field of the trainer's settings that is read last wins: model_type 4, characters.
        File.WriteAllBytes(
            folder["tokenizer.model"],
            [.. File.ReadAllBytes(SharedMaterial.Golden("tokenizers", "bpe.model")), 0x12, 2, 3 << 3, 4]
        );
        var e = Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root));
        Assert.Contains("\"char\"", e.Message.Replace("type char", "type \"char\"", StringComparison.Ordinal));
        GoldenTokenizers.Write(folder, "qwen");
        Assert.Equal(GoldenTokenizers.Open("qwen").VocabularySize, TokenizerLoader.Load(folder.Root).VocabularySize);
    }

    [Theory]
    [InlineData("bpe")]
    [InlineData("unigram")]
    public void Load_of_a_damaged_SentencePiece_model_fails_with_a_message_or_gives_a_tokenizer(string name)
    {
        var whole = File.ReadAllBytes(SharedMaterial.Golden("tokenizers", name + ".model"));
        using var folder = new TemporaryFolder();
        var path = folder["tokenizer.model"];
        foreach (var length in (int[])[0, 1, 2, 100, 5001, whole.Length - 3, whole.Length - 1])
        {
            File.WriteAllBytes(path, whole[..length]);
            var e = Record.Exception(() => TokenizerLoader.Load(folder.Root));
            Assert.True(e is null or CheckpointException, $"{length} bytes: {e}");
            Assert.True(e is not null || length > 5001, $"{length} bytes were taken");
        }
        var random = new Random(1);
        for (var round = 0; round < 300; round++)
        {
            var damaged = (byte[])whole.Clone();
            for (var i = 0; i < 3; i++)
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            File.WriteAllBytes(path, damaged);
            var e = Record.Exception(() => TokenizerLoader.Load(folder.Root).Encode("the sea \uFB01 \u00E9"));
            Assert.True(e is null or CheckpointException, $"round {round}: {e}");
        }
    }

    [Theory]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{}", "model")]
    [InlineData("""{"model": {"type": "BPE", "vocab": [], "merges": []}}""", "model.vocab")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}""", "model.vocab.a")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}, "decoder": {"type": "Fuse"}}""", "id -1")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 2000000000}, "merges": []}, "decoder": {"type": "Fuse"}}""", "id 2000000000")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}, "decoder": {"type": "Fuse"}}""", "model.merges[0]")]
    [InlineData(
        """{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "u"}, "decoder": {"type": "Fuse"}}""",
        "model.unk_token"
    )]
    [InlineData("""{"model": {"type": "BPE", "vocab": {"\ud800": 0}, "merges": []}, "decoder": {"type": "Fuse"}}""", "not valid Unicode")]
    [InlineData("""{"model": {"type": "B\ud800", "vocab": {}, "merges": []}}""", "not valid Unicode")]
    [InlineData("""{"model": {"type": "WordPiece", "vocab": {}}}""", "WordPiece")]
    [InlineData("""{"model": {"type": "Unigram", "vocab": []}}""", "Unigram")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}}""", "dropout")]
    [InlineData("""{"model": {"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "</w>"}}""", "</w>")]
    public void Load_of_a_wrong_tokenizer_json_says_what_is_wrong(string json, string expected)
    {
        using var folder = new TemporaryFolder();
        var path = folder.Text("tokenizer.json", json);
        var e = Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root));
        Assert.Contains(expected, e.Message);
        Assert.Contains(Path.GetDirectoryName(path)!, e.Message);
    }

    [Theory]
    [InlineData("normalizer", """{"type": "NFKC"}""", "NFKC")]
    [InlineData(
        "normalizer",
        """{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "BertNormalizer"}]}""",
        "normalizer.normalizers[1]"
    )]
    [InlineData("pre_tokenizer", """{"type": "BertPreTokenizer"}""", "BertPreTokenizer")]
    [InlineData("pre_tokenizer", """{"type": "Split", "pattern": {"Regex": "\\p{Han}+"}, "behavior": "Isolated"}""", "\\p{Han}")]
    [InlineData("pre_tokenizer", """{"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Shuffled"}""", "behavior")]
    [InlineData(
        "pre_tokenizer",
        """{"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel", "add_prefix_space": true}]}""",
        "pretokenizers[1]"
    )]
    [InlineData("post_processor", """{"type": "BertProcessing"}""", "BertProcessing")]
    [InlineData("decoder", """{"type": "WordPiece"}""", "WordPiece")]
    [InlineData("decoder", """{"type": "Fuse"}""", "ByteLevel")]
    [InlineData("decoder", "null", "decoder")]
    public void Load_of_an_unsupported_component_names_it(string member, string value, string expected)
    {
        var json = GoldenTokenizers.Json("qwen");
        json[member] = JsonNode.Parse(value);
        using var folder = new TemporaryFolder();
        var path = folder.Text("tokenizer.json", json.ToJsonString());
        var e = Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(folder.Root));
        Assert.Contains(expected, e.Message);
        Assert.Contains(path, e.Message);
    }

    [Theory]
    [InlineData("tokenizer_config.json", "{", "not JSON")]
    [InlineData("tokenizer_config.json", """{"add_bos_token": "yes"}""", "add_bos_token")]
    [InlineData("tokenizer_config.json", """{"eos_token": "<|nothing|>"}""", "<|nothing|>")]
    [InlineData("tokenizer_config.json", """{"added_tokens_decoder": {"x": {"content": "y"}}}""", "added_tokens_decoder.x")]
    [InlineData("special_tokens_map.json", """{"pad_token": 5}""", "pad_token")]
    [InlineData("added_tokens.json", """{"[PAD]": "5"}""", "[PAD]")]
    public void Load_with_wrong_settings_says_what_is_wrong(string file, string text, string expected)
    {
        foreach (var name in (string[])["qwen", "bpe"])
        {
            var e = Assert.Throws<CheckpointException>(() => GoldenTokenizers.Open(name, (file, text)));
            Assert.Contains(expected, e.Message);
            Assert.Contains(file, e.Message);
        }
    }
}
