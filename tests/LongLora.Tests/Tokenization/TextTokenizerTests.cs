using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>BOS, EOS, PAD, special and added tokens, threads.</summary>
public class TextTokenizerTests
{
    [Fact]
    public void Encode_of_special_tokens_in_a_text_gives_ordinary_tokens_unless_asked()
    {
        foreach (var name in (string[])["bpe", "mistral"])
        {
            var tokenizer = GoldenTokenizers.Open(name);
            var end = tokenizer.FindToken("</s>")!.Value;
            Assert.Equal(2, end);
            var ordinary = tokenizer.Encode("sea</s>");
            Assert.DoesNotContain(end, ordinary);
            Assert.Equal("sea</s>", tokenizer.Decode(ordinary.ToArray()));
            var parsed = tokenizer.Encode("sea</s>", parseSpecial: true).ToArray();
            Assert.Equal(end, parsed[^1]);
            Assert.Equal("sea", tokenizer.Decode(parsed));
            Assert.Equal("sea</s>", tokenizer.Decode(parsed, skipSpecial: false));
        }
    }

    [Fact]
    public void Load_without_settings_takes_BOS_and_EOS_from_the_model_and_writes_BOS()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        Assert.Equal((1, 2, null), (tokenizer.BosTokenId, tokenizer.EosTokenId, tokenizer.PadTokenId));
        Assert.Equal([1], tokenizer.Encode("", addSpecial: true));
        Assert.Equal([1, .. tokenizer.Encode("sea")], tokenizer.Encode("sea", addSpecial: true));
        Assert.Equal(3, GoldenTokenizers.Open("unknown").PadTokenId);
    }

    [Fact]
    public void Load_with_a_padding_token_added_as_LongLoRA_does_gives_it_the_next_id()
    {
        foreach (var name in (string[])["bpe", "mistral"])
        {
            var size = GoldenTokenizers.Open(name).VocabularySize;
            var tokenizer = GoldenTokenizers.Open(
                name,
                ("added_tokens.json", $$"""{"[PAD]": {{size}}}"""),
                (
                    "special_tokens_map.json",
                    """{"pad_token": {"content": "[PAD]", "lstrip": false}, "bos_token": "<s>", "eos_token": "</s>"}"""
                )
            );
            Assert.Equal(
                (size + 1, (int?)size, (int?)size),
                (tokenizer.VocabularySize, tokenizer.PadTokenId, tokenizer.FindToken("[PAD]"))
            );
            Assert.Equal((1, 2), (tokenizer.BosTokenId, tokenizer.EosTokenId));
            Assert.DoesNotContain(size, tokenizer.Encode("a [PAD]"));
            Assert.Contains(size, tokenizer.Encode("a [PAD]", parseSpecial: true));
            Assert.Equal("", tokenizer.Decode([size]));
        }
    }

    [Fact]
    public void Load_with_add_bos_token_and_add_eos_token_obeys_them()
    {
        foreach (var name in (string[])["bpe", "mistral"])
        {
            var config = (
                "tokenizer_config.json",
                """{"add_bos_token": false, "add_eos_token": true, "bos_token": "<s>", "eos_token": {"content": "</s>"}}"""
            );
            var tokenizer = GoldenTokenizers.Open(name, config);
            Assert.Equal([.. tokenizer.Encode("sea"), 2], tokenizer.Encode("sea", addSpecial: true));
        }
    }

    [Fact]
    public void Load_with_ids_only_in_the_model_config_takes_them()
    {
        var tokenizer = GoldenTokenizers.Open("gpt-neox", ("config.json", """{"bos_token_id": 5, "eos_token_id": [757, 6]}"""));
        Assert.Equal((5, 757, null), (tokenizer.BosTokenId, tokenizer.EosTokenId, tokenizer.PadTokenId));
        var silenced = GoldenTokenizers.Open(
            "gpt-neox",
            ("config.json", """{"bos_token_id": 5}"""),
            ("tokenizer_config.json", """{"bos_token": null}""")
        );
        Assert.Null(silenced.BosTokenId);
    }

    [Fact]
    public void Load_of_a_Llama_3_folder_that_forgot_BOS_writes_it()
    {
        var json = GoldenTokenizers.Json("llama3");
        json.Remove("post_processor");
        using var folder = new TemporaryFolder();
        folder.Text("tokenizer.json", json.ToJsonString());
        folder.Text("tokenizer_config.json", """{"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}""");
        var tokenizer = TokenizerLoader.Load(folder.Root);
        Assert.Equal([tokenizer.BosTokenId!.Value, .. tokenizer.Encode("sea")], tokenizer.Encode("sea", addSpecial: true));
    }

    [Theory]
    [InlineData("true", " the sea")]
    [InlineData("false", "the sea")]
    public void Encode_after_a_special_token_writes_a_space_where_the_tokenizer_is_legacy(string legacy, string expected)
    {
        var tokenizer = GoldenTokenizers.Open("bpe", ("tokenizer_config.json", $$"""{"legacy": {{legacy}}}"""));
        var ids = tokenizer.Encode("</s>the sea", parseSpecial: true).ToArray();
        Assert.Equal("</s>" + expected, tokenizer.Decode(ids, skipSpecial: false));
    }

    [Fact]
    public void Decode_of_ids_without_a_token_gives_nothing_and_of_negative_ones_fails()
    {
        var tokenizer = GoldenTokenizers.Open("qwen");
        Assert.Equal("", tokenizer.Decode([tokenizer.VocabularySize, 1_000_000]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tokenizer.Decode([-100]));
    }

    [Fact]
    public void Encode_of_half_a_surrogate_pair_gives_the_replacement_character()
    {
        foreach (var name in (string[])["bpe", "unigram", "llama3", "qwen", "mistral"])
        {
            var tokenizer = GoldenTokenizers.Open(name);
            Assert.Equal(tokenizer.Encode("a\uFFFDb"), tokenizer.Encode("a\uD83Eb"));
            Assert.Equal(tokenizer.Encode("a\uFFFD"), tokenizer.Encode("a\uD83E"));
        }
    }

    [Fact]
    public void FindToken_finds_tokens_by_their_written_form()
    {
        var tokenizer = GoldenTokenizers.Open("llama3");
        Assert.Equal(tokenizer.VocabularySize - 1, tokenizer.FindToken("<|eot_id|>"));
        Assert.Equal(tokenizer.Encode(" the"), [tokenizer.FindToken("\u0120the")!.Value]);
        Assert.Null(tokenizer.FindToken("no such token"));
    }

    [Fact]
    public async Task Encode_and_decode_from_many_threads_give_what_one_gives()
    {
        foreach (var name in (string[])["bpe", "unigram", "qwen", "mistral"])
        {
            var texts = GoldenTokenizers.Read("huggingface.json")["texts"].Deserialize<string[]>()!;
            var alone = GoldenTokenizers.Open(name);
            var expected = texts.Select(t => alone.Encode(t, parseSpecial: true).ToArray()).ToArray();
            var shared = GoldenTokenizers.Open(name);
            await Parallel.ForAsync(0, 2000, (i, _) =>
            {
                var k = i % texts.Length;
                // The number makes words that no thread has met.
                var ids = shared.Encode(texts[k], parseSpecial: true).ToArray();
                Assert.Equal(expected[k], ids);
                Assert.EndsWith($"sea{i}", shared.Decode(shared.Encode($"the sea{i}").ToArray()), StringComparison.Ordinal);
                return ValueTask.CompletedTask;
            });
        }
    }

    [Fact]
    public void Encode_of_more_words_than_are_remembered_stays_right()
    {
        var tokenizer = GoldenTokenizers.Open("bpe");
        var before = tokenizer.Encode("the sea").ToArray();
        var text = string.Join(' ', Enumerable.Range(0, 140_000));
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text).ToArray()));
        Assert.Equal(before, tokenizer.Encode("the sea"));
    }

    [Fact]
    public void Encode_with_a_BOS_that_no_file_names_fails()
    {
        var e = Assert.Throws<CheckpointException>(() =>
            GoldenTokenizers.Open("qwen", ("tokenizer_config.json", """{"add_bos_token": true}"""))
        );
        Assert.Contains("add_bos_token", e.Message);
    }
}
