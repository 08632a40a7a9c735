using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Tests.Checkpoints;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public sealed class GgufTokenizerTests : IDisposable
{
    private static readonly string[] s_texts =
    [
        "",
        " ",
        "Hello world",
        "  two  spaces and\ttabs\n\n new lines \r\n",
        "1234567890 3.14 1,000",
        "don't I'LL you've 'S",
        "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
        "\ud83d\ude00\ud83d\udc4d\ud83c\udffd \u2167 \u00bd \u0664\u0665",
        "camelCaseWord XMLHttpRequest snake_case __init__",
        "<s>a</s> <|im_start|>user\nHi<|im_end|> <|endoftext|>",
        "x\u0000y\u200bz \u00a0 \u3000",
        "if (a[0] != b->c) { return \"x\\n\"; } // 50%",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string SmolLm => SharedMaterial.Shared("models", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf");

    // A model of no size with the tokenizer of a folder, written as GGUF.
    private GgufModel Exported(string tokenizer)
    {
        var size = TokenizerLoader.Load(tokenizer).VocabularySize + 3;
        _folder.Text(
            "config.json",
            $$"""
            {
              "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 8,
              "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": {{size}},
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
              "torch_dtype": "float32"
            }
            """
        );
        NewModel.Write(_folder["model"], _folder["config.json"], tokenizer, 64, 1);
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using (var model = ModelLoader.Load(folder.Config, folder))
            GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F16);
        return GgufModel.Open(_folder["a.gguf"]);
    }

    private static void Same(ITokenizer expected, ITokenizer actual, IEnumerable<string> texts)
    {
        foreach (var text in texts)
        {
            foreach (var (addSpecial, parseSpecial) in ((bool, bool)[])[(false, false), (true, false), (false, true)])
            {
                var (ids, seen) = (expected.Encode(text, addSpecial, parseSpecial), actual.Encode(text, addSpecial, parseSpecial));
                Assert.True(ids.SequenceEqual(seen), $"'{text}': {string.Join(' ', ids.Take(30))} | {string.Join(' ', seen.Take(30))}");
                Assert.Equal(expected.Decode([.. ids]), actual.Decode([.. seen]));
                Assert.All(ids, id => Assert.Equal(TokenText.GetBytes(expected, id), TokenText.GetBytes(actual, id)));
            }
        }
    }

    [Fact]
    public void Tokens_of_SmolLM2_are_the_golden_ones()
    {
        using var file = GgufModel.Open(SmolLm);
        var tokenizer = file.Tokenizer!;
        Assert.Equal((49152, 1, 2, 2), (tokenizer.VocabularySize, tokenizer.BosTokenId, tokenizer.EosTokenId, tokenizer.PadTokenId));
        var cases = JsonNode.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "smollm2", "tokens.json")))!.AsArray();
        Assert.True(cases.Count >= 15);
        foreach (var item in cases)
            Assert.Equal(
                item!["ids"]!.AsArray().Select(i => (int)i!),
                tokenizer.Encode((string)item["text"]!, addSpecial: true, parseSpecial: true)
            );
    }

    [Fact]
    public void Chats_of_SmolLM2_are_rendered_as_the_golden_ones()
    {
        using var file = GgufModel.Open(SmolLm);
        var template = ChatTemplate.Parse(file.ChatTemplate!, file.Path);
        foreach (var chat in JsonNode.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "smollm2", "greedy.json")))!.AsArray())
        {
            var rendered = template.Render([new("user", (string)chat!["prompt"]!)], file.Tokenizer!, addGenerationPrompt: true);
            Assert.Equal((string)chat["rendered"]!, rendered.Text);
            Assert.Equal(chat["prompt_ids"]!.AsArray().Select(i => (int)i!), rendered.Encode(file.Tokenizer!).Ids);
        }
    }

    // The folder's tokenizer, the one of the GGUF file that was made of it, and the one of the folder that was made of this.
    [Theory]
    [InlineData("llama2")]
    [InlineData("llama3")]
    [InlineData("gpt_neox")]
    [InlineData("stories")]
    public void Tokens_survive_the_way_to_GGUF_and_back(string name)
    {
        var path = name == "stories" ? SharedMaterial.Golden("stories260K-hf") : SharedMaterial.Tokenizer(name);
        var origin = TokenizerLoader.Load(path);
        using var file = Exported(path);
        Same(origin, file.Tokenizer!, s_texts);
        Assert.Equal((origin.BosTokenId, origin.EosTokenId), (file.Tokenizer!.BosTokenId, file.Tokenizer.EosTokenId));
        GgufImporter.Write(_folder["back"], file);
        Same(file.Tokenizer, TokenizerLoader.Load(_folder["back"]), s_texts);
        // By tokenizer.json alone, as Hugging Face's tokenizers read it.
        File.Delete(_folder["back", "tokenizer.model"]);
        Same(file.Tokenizer, TokenizerLoader.Load(_folder["back"]), s_texts);
    }

    // Every rule of SentencePiece BPE that rewrites text: by the file, by the folder made of it, and by its tokenizer.json alone.
    [Theory]
    [InlineData(true, true, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    [InlineData(true, true, true)]
    public void Rules_of_SentencePiece_survive_the_way_to_GGUF_and_back(bool addsPrefix, bool removesSpaces, bool hasMap)
    {
        var stories = SentencePieceFile.Read(SharedMaterial.Golden("stories260K-hf", "tokenizer.model"));
        Directory.CreateDirectory(_folder["rules"]);
        SentencePieceWriter.Write(
            _folder["rules", "tokenizer.model"],
            stories.Pieces,
            isUnigram: false,
            new(0, 1, 2, null),
            // NFKC.
            hasMap ? SentencePieceFile.Read(SharedMaterial.Golden("tokenizers", "unigram.model")).CharacterMap : [],
            addsPrefix,
            removesSpaces
        );
        var origin = TokenizerLoader.Load(_folder["rules"]);
        string[] texts = [.. s_texts, "a  b\n\nc   d\te  ", "  a", "a  ", "\uff41\uff42 \ufb01", "a \nb\n "];
        using var file = Exported(_folder["rules"]);
        Same(origin, file.Tokenizer!, texts);
        GgufImporter.Write(_folder["back"], file);
        Same(origin, TokenizerLoader.Load(_folder["back"]), texts);
        var differences = GgufTokenSameness.FindDifferences(origin, GgufReader.Read(_folder["a.gguf"]));
        Assert.Equal(removesSpaces, differences.Any(d => d.Contains("remove_extra_whitespaces", StringComparison.Ordinal)));
        Assert.Equal(hasMap, differences.Any(d => d.Contains("character map", StringComparison.Ordinal)));
        Assert.Equal(removesSpaces || hasMap, differences.Count > 0);
        File.Delete(_folder["back", "tokenizer.model"]);
        // Hugging Face's tokenizers read the map there, and this project refuses it.
        if (hasMap)
            Assert.Throws<CheckpointException>(() => TokenizerLoader.Load(_folder["back"]));
        else
            Same(origin, TokenizerLoader.Load(_folder["back"]), texts);
    }

    // llama.cpp does not normalize, so composed characters alone are the same there.
    [Fact]
    public void Tokens_of_Qwen_survive_where_the_text_is_normalized()
    {
        var path = SharedMaterial.Shared("tokenizers", "qwen3");
        using var file = Exported(path);
        Same(TokenizerLoader.Load(path), file.Tokenizer!, s_texts);
        var differences = GgufTokenSameness.FindDifferences(TokenizerLoader.Load(path), GgufReader.Read(_folder["a.gguf"]));
        Assert.Equal(["letters with their accents apart (NFC)"], differences);
    }

    public static TheoryData<string> Rules => [.. GgufWordRule.Names];

    // Every rule cuts every text without losing a character, and what it cuts is what a tokenizer.json with the same rule cuts.
    [Theory]
    [MemberData(nameof(Rules))]
    public void Every_rule_is_the_same_in_the_folder_that_is_made_of_it(string rule)
    {
        using var file = OfRule(rule);
        Assert.Equal(rule == "default" ? "default" : rule, GgufReader.Read(_folder["a.gguf"]).Get<string>("tokenizer.ggml.pre"));
        Directory.CreateDirectory(_folder["back"]);
        file.WriteTokenizer(_folder["back"]);
        Same(TokenizerLoader.Load(_folder["back"]), file.Tokenizer!, s_texts);
        foreach (var text in s_texts)
            Assert.Equal(text, file.Tokenizer!.Decode([.. file.Tokenizer.Encode(text)]));
        var written = GgufTokenizer.Keys(_folder["back"], 300).ToDictionary(k => k.Key, k => k.Value);
        Assert.Equal(GgufWordRule.Find(rule)!.Patterns, GgufWordRule.Find((string)written["tokenizer.ggml.pre"])!.Patterns);
    }

    // A tokenizer of single bytes and a few words, so that the words show in the tokens.
    private GgufModel OfRule(string rule)
    {
        var bytes = Enumerable.Range(0, 256).Select(b => ByteAlphabet.GetCharacter((byte)b).ToString());
        string[] words =
        [
            "12",
            "123",
            "\u01201",
            "\u0120a",
            "aa",
            "aaaa",
            "ll",
            "'ll",
            "\u0120\u0120",
            "\u0120\u0120\u0120",
            "\u010a\u010a",
            "LL",
        ];
        string[] merges =
        [
            "1 2",
            "12 3",
            "\u0120 1",
            "\u0120 a",
            "a a",
            "aa aa",
            "l l",
            "' ll",
            "\u0120 \u0120",
            "\u0120\u0120 \u0120",
            "\u010a \u010a",
            "L L",
        ];
        string[] tokens = [.. bytes, .. words, "<s>", "</s>"];
        return OfKeys(tokens.Length, k =>
            k.Key("tokenizer.ggml.model", "gpt2")
                .Key("tokenizer.ggml.pre", rule)
                .Key("tokenizer.ggml.tokens", tokens)
                .Key("tokenizer.ggml.token_type", [.. tokens.Select(t => t is "<s>" or "</s>" ? 3 : 1)])
                .Key("tokenizer.ggml.merges", merges)
                .Key("tokenizer.ggml.bos_token_id", (uint)tokens.Length - 2)
                .Key("tokenizer.ggml.eos_token_id", (uint)tokens.Length - 1)
        );
    }

    private GgufModel OfKeys(int size, Action<GgufBytes> describe)
    {
        var file = new GgufBytes()
            .Key("general.architecture", "llama")
            .Key("llama.context_length", 64u)
            .Key("llama.embedding_length", 32u)
            .Key("llama.block_count", 1u)
            .Key("llama.feed_forward_length", 32u)
            .Key("llama.attention.head_count", 2u)
            .Key("llama.attention.layer_norm_rms_epsilon", 1e-5f);
        describe(file);
        file.Tensor("token_embd.weight", (int)GgufType.Q8_0, new byte[34 * size], 32, size);
        File.WriteAllBytes(_folder["a.gguf"], file.Build());
        return GgufModel.Open(_folder["a.gguf"]);
    }

    [Fact]
    public void Metadata_of_a_tokenizer_that_cannot_be_are_refused_by_name()
    {
        string Message(Action<GgufBytes> describe) => Assert.Throws<CheckpointException>(() => OfKeys(4, describe).Tokenizer).Message;
        static void Tokens(GgufBytes k, string model, params string[] tokens) =>
            k.Key("tokenizer.ggml.model", model).Key("tokenizer.ggml.tokens", tokens);

        Assert.Contains("'tokenizer.ggml.model' is 'bert'; supported are gpt2", Message(k => Tokens(k, "bert", "a")));
        Assert.Contains("'tokenizer.ggml.tokens' is missing", Message(k => k.Key("tokenizer.ggml.model", "llama")));
        Assert.Contains("'tokenizer.ggml.merges' is missing", Message(k => Tokens(k, "gpt2", "a")));
        Assert.Contains(
            "'tokenizer.ggml.pre' is 'qwen3', a rule for cutting words that is not known",
            Message(k =>
            {
                Tokens(k, "gpt2", "a");
                k.Key("tokenizer.ggml.pre", "qwen3").Key("tokenizer.ggml.merges", ["a a"]);
            })
        );
        Assert.Contains("the tokens 0 and 1 are both 'a'", Message(k => Tokens(k, "llama", "a", "a", "b")));
        Assert.Contains(
            "the merge 0, 'a b', is not two tokens of the vocabulary that make a third",
            Message(k =>
            {
                Tokens(k, "gpt2", "a", "b");
                k.Key("tokenizer.ggml.merges", ["a b"]);
            })
        );
        Assert.Contains(
            "a BOS token begins every text, but 'tokenizer.ggml.bos_token_id' does not name it",
            Message(k =>
            {
                Tokens(k, "gpt2", "a", "b", "ab");
                k.Key("tokenizer.ggml.pre", "llama-bpe").Key("tokenizer.ggml.merges", ["a b"]);
            })
        );
        Assert.Contains(
            "its tokenizer has 5 tokens, but the model has rows for 4",
            Message(k => Tokens(k, "llama", "a", "b", "c", "d", "e"))
        );
        Assert.Contains(
            "'tokenizer.ggml.scores'",
            Message(k =>
            {
                Tokens(k, "llama", "a", "b", "c");
                k.Key("tokenizer.ggml.scores", [1f]);
            })
        );
    }

    // What llama.cpp does where a key is missing: SentencePiece begins with BOS and a space, byte-level BPE with neither.
    [Fact]
    public void Keys_that_are_missing_have_the_engines_defaults()
    {
        string[] tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "b"];
        ITokenizer Open(Action<GgufBytes>? more = null) => OfKeys(tokens.Length, k =>
            {
                k.Key("tokenizer.ggml.model", "llama")
                    .Key("tokenizer.ggml.tokens", tokens)
                    .Key("tokenizer.ggml.scores", 0f, 0, 0, -3, -2, -1, -4)
                    .Key("tokenizer.ggml.token_type", 2, 3, 3, 1, 1, 1, 1);
                more?.Invoke(k);
            }).Tokenizer!;
        Assert.Equal([1, 5], Open().Encode("a", addSpecial: true));
        Assert.Equal([5, 2, 5], Open().Encode("a</s>a", parseSpecial: true));
        Assert.Equal(
            [4],
            Open(k => k.Key("tokenizer.ggml.add_space_prefix", false).Key("tokenizer.ggml.add_bos_token", false)).Encode("a", true)
        );
        Assert.Equal([1, 5, 2], Open(k => k.Key("tokenizer.ggml.add_eos_token", true)).Encode("a", addSpecial: true));
        Assert.Equal("a", Open().Decode([1, 5]));
        Assert.Equal("a a", Open().Decode([5, 5]));
        // No byte tokens: what has no token is the unknown one.
        Assert.Equal([5, 0, 6], Open().Encode("axb"));
    }

    // User-defined tokens are found in any text and as they are; the space prefix comes again behind them, as engines do it.
    [Fact]
    public void Added_tokens_of_each_kind_are_found_as_they_should()
    {
        string[] tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "<tool>", "[PAD7]"];
        var tokenizer = OfKeys(tokens.Length, k =>
            k.Key("tokenizer.ggml.model", "llama")
                .Key("tokenizer.ggml.tokens", tokens)
                .Key("tokenizer.ggml.scores", 0f, 0, 0, -3, -2, -1, -1000, -1000)
                .Key("tokenizer.ggml.token_type", 2, 3, 3, 1, 1, 1, 4, 5)
        ).Tokenizer!;
        Assert.Equal([5, 6, 5], tokenizer.Encode("a<tool>a"));
        Assert.Equal("a<tool> a", tokenizer.Decode([5, 6, 5]));
        Assert.Equal([5, 2], tokenizer.Encode("a</s>", parseSpecial: true));
        Assert.DoesNotContain(2, tokenizer.Encode("a</s>"));
        Assert.Equal("", tokenizer.Decode([7]));
    }

    // A Unigram model through GGUF's keys is SentencePiece's own.
    [Fact]
    public void Unigram_tokens_are_those_of_the_SentencePiece_file()
    {
        var path = SharedMaterial.Golden("tokenizers", "unigram.model");
        var file = SentencePieceFile.Read(path);
        Directory.CreateDirectory(_folder["origin"]);
        File.Copy(path, _folder["origin", "tokenizer.model"]);
        File.WriteAllText(_folder["origin", "tokenizer_config.json"], """{ "add_bos_token": false, "add_eos_token": true }""");
        int Id(string piece) => file.Pieces.FindIndex(p => p.Text == piece);
        using var model = OfKeys(file.Pieces.Count, k =>
            k.Key("tokenizer.ggml.model", "t5")
                .Key("tokenizer.ggml.tokens", [.. file.Pieces.Select(p => p.Text)])
                .Key("tokenizer.ggml.scores", [.. file.Pieces.Select(p => p.Score)])
                .Key("tokenizer.ggml.token_type", [.. file.Pieces.Select(p => (int)p.Kind)])
                .Key("tokenizer.ggml.unknown_token_id", (uint)file.Pieces.FindIndex(p => p.Kind == PieceKind.Unknown))
                .Key("tokenizer.ggml.bos_token_id", (uint)Id(file.BosPiece))
                .Key("tokenizer.ggml.eos_token_id", (uint)Id(file.EosPiece))
                .Key("tokenizer.ggml.add_space_prefix", file.AddDummyPrefix)
                .Key("tokenizer.ggml.remove_extra_whitespaces", file.RemoveExtraWhitespaces)
                .Key(
                    "tokenizer.ggml.precompiled_charsmap",
                    GgufFormat.List,
                    [.. GgufBytes.List(GgufFormat.UInt8, file.CharacterMap.Length), .. file.CharacterMap]
                )
        );
        var origin = TokenizerLoader.Load(_folder["origin"]);
        Same(origin, model.Tokenizer!, s_texts);
        Directory.CreateDirectory(_folder["back"]);
        model.WriteTokenizer(_folder["back"]);
        Same(origin, TokenizerLoader.Load(_folder["back"]), s_texts);
    }

    // Pieces by merges, and only line feeds apart.
    [Fact]
    public void Gemma4_tokens_are_pieces_by_merges()
    {
        string[] tokens =
        [
            "<pad>",
            "<eos>",
            "<bos>",
            "<unk>",
            "\n",
            "\n\n",
            "a",
            "b",
            "\u2581",
            "\u2581a",
            "\u2581ab",
            "ab",
            .. Enumerable.Range(0, 256).Select(TokenizerJson.NameByteToken),
        ];
        using var model = OfKeys(tokens.Length, k =>
            k.Key("tokenizer.ggml.model", "gemma4")
                .Key("tokenizer.ggml.tokens", tokens)
                .Key("tokenizer.ggml.token_type", [3, 3, 3, 3, .. Enumerable.Repeat(1, 8), .. Enumerable.Repeat(6, 256)])
                .Key("tokenizer.ggml.merges", "a b", "\u2581 ab", "\u2581 a")
                .Key("tokenizer.ggml.bos_token_id", 2u)
                .Key("tokenizer.ggml.eos_token_id", 1u)
        );
        var tokenizer = model.Tokenizer!;
        Assert.Equal([2, 11, 10, 9, 9], tokenizer.Encode("ab ab a a", addSpecial: true));
        Assert.Equal([6, 5, 6, 4, 7], tokenizer.Encode("a\n\na\nb"));
        Assert.Equal([12 + 0xC3, 12 + 0xA9], tokenizer.Encode("\u00e9"));
        Assert.Equal("ab ab\n\n\u00e9", tokenizer.Decode([11, 10, 5, 12 + 0xC3, 12 + 0xA9]));
    }

    [Fact]
    public void Sampling_and_templates_of_the_file_are_written_beside_the_model()
    {
        using var file = OfKeys(3, k =>
            k.Key("tokenizer.ggml.model", "llama")
                .Key("tokenizer.ggml.tokens", "<unk>", "<s>", "</s>")
                .Key("tokenizer.ggml.token_type", 2, 3, 3)
                .Key("tokenizer.chat_template", "{{ 'own' }}")
                .Key("tokenizer.chat_template.tool_use", "{{ 'tools' }}")
                .Key("general.sampling.temp", 0.6f)
                .Key("general.sampling.top_k", 20u)
        );
        var settings = JsonNode.Parse(file.GenerationConfigText)!;
        Assert.Equal(
            (0.6, 20, true, 2),
            ((double)settings["temperature"]!, (int)settings["top_k"]!, (bool)settings["do_sample"]!, (int)settings["eos_token_id"]!)
        );
        Directory.CreateDirectory(_folder["out"]);
        file.WriteTokenizer(_folder["out"]);
        Assert.Equal("{{ 'own' }}", File.ReadAllText(_folder["out", "chat_template.jinja"]));
        Assert.Equal("{{ 'tools' }}", File.ReadAllText(_folder["out", "additional_chat_templates", "tool_use.jinja"]));
    }
}
