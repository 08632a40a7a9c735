using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Tests.Export;

public class GgufTests
{
    private static string Stories => SharedMaterial.Golden("stories260K-hf");

    private static string Bundled => Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");

    // Perplexity of a model as it is, which is the same for every type; the tests of one class run one after the other.
    private static readonly Dictionary<string, double> s_before = [];

    [Theory]
    [InlineData(GgufFileType.F32, 0, 0)]
    [InlineData(GgufFileType.F16, 1, 1e-3)]
    [InlineData(GgufFileType.Bf16, 32, 1e-3)]
    [InlineData(GgufFileType.Q8_0, 7, 5e-3)]
    public void Write_real_models_keeps_their_perplexity(GgufFileType type, int fileType, double tolerance)
    {
        foreach (var path in new[] { Stories, Bundled })
        {
            using var output = new TemporaryFolder();
            var folder = CheckpointDirectory.Open(path);
            using var model = ModelLoader.Load(folder.Config, folder);
            // Engines have no rule like that of the bundled tokenizer.
            var file = GgufExporter.Write(output["a.gguf"], model, folder, type, withTokenizer: path == Stories);
            Assert.Equal((uint)fileType, file.Get<uint>("general.file_type"));
            Assert.Equal(path == Stories ? "llama" : "no_vocab", file.Get<string>("tokenizer.ggml.model"));
            using var again = ModelLoader.Load(folder.Config, new LlamaOfGguf(file, folder.Config));
            var tokenizer = TokenizerLoader.Load(path);
            if (!s_before.TryGetValue(path, out var before))
                s_before[path] = before = Measure(model, tokenizer);
            var after = Measure(again, tokenizer);
            Assert.True(Math.Abs(after / before - 1) <= tolerance, $"perplexity is {before} before and {after} after");
            TestContext.Current.SendDiagnosticMessage(
                $"{Path.GetFileName(path)} {type}: {new FileInfo(output["a.gguf"]).Length} bytes, perplexity {before:F4} -> {after:F4} "
                    + $"({100 * (after / before - 1):F4} %)"
            );
        }
    }

    [Fact]
    public void Write_real_checkpoint_says_what_engines_need()
    {
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(Stories);
        using var model = ModelLoader.Load(RopeScaling.Extend(folder.Config, "linear", null, 2048), folder);
        var file = GgufExporter.Write(output["a.gguf"], model, folder, GgufFileType.Q8_0);
        Assert.Equal("llama", file.Get<string>("general.architecture"));
        Assert.Equal(
            (2048u, 64u, 5u, 8u, 4u, 8u),
            (
                file.Get<uint>("llama.context_length"),
                file.Get<uint>("llama.embedding_length"),
                file.Get<uint>("llama.block_count"),
                file.Get<uint>("llama.attention.head_count"),
                file.Get<uint>("llama.attention.head_count_kv"),
                file.Get<uint>("llama.rope.dimension_count")
            )
        );
        Assert.Equal(
            ("linear", 4f, 512u),
            (
                file.Get<string>("llama.rope.scaling.type"),
                file.Get<float>("llama.rope.scaling.factor"),
                file.Get<uint>("llama.rope.scaling.original_context_length")
            )
        );
        Assert.DoesNotContain("output.weight", file.Tensors.Keys); // tied
        Assert.Equal(GgufType.F32, file.Tensors["blk.0.attn_norm.weight"].Type);
        Assert.Equal(GgufType.Q8_0, file.Tensors["blk.0.attn_q.weight"].Type);
        Assert.Equal(GgufType.F16, file.Tensors["blk.0.ffn_down.weight"].Type); // rows of 172, no multiple of 32
        Assert.Equal([64, 172], file.Tensors["blk.0.ffn_down.weight"].Shape);

        var pieces = SentencePieceFile.Read(Path.Combine(Stories, "tokenizer.model")).Pieces;
        Assert.Equal("llama", file.Get<string>("tokenizer.ggml.model"));
        Assert.Equal(pieces.Select(p => p.Text), file.Get<IReadOnlyList<string>>("tokenizer.ggml.tokens"));
        Assert.Equal(pieces.Select(p => p.Score), file.Get<IReadOnlyList<float>>("tokenizer.ggml.scores"));
        Assert.Equal(pieces.Select(p => (int)p.Kind), file.Get<IReadOnlyList<int>>("tokenizer.ggml.token_type"));
        Assert.Equal(
            (1u, 2u, true, false),
            (
                file.Get<uint>("tokenizer.ggml.bos_token_id"),
                file.Get<uint>("tokenizer.ggml.eos_token_id"),
                file.Get<bool>("tokenizer.ggml.add_bos_token"),
                file.Get<bool>("tokenizer.ggml.add_eos_token")
            )
        );
    }

    // Through the tests' own way back from GGUF to Hugging Face's names and layout; the logits are the goldens' contract elsewhere.
    [Theory]
    [InlineData("mistral_tiny", "llama")]
    [InlineData("qwen2_tiny", "qwen2")]
    [InlineData("qwen3_tiny", "qwen3")]
    [InlineData("phi3_tiny", "phi3")]
    [InlineData("neox_tiny", "gptneox")]
    [InlineData("neox_serial_tiny", "gptneox")]
    public void Write_every_family_then_read_gives_the_same_weights(string golden, string architecture)
    {
        using var scope = NewDisposeScope();
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden(golden));
        var config = folder.Config;
        using var model = ModelLoader.Load(config, folder);
        var file = GgufExporter.Write(output["a.gguf"], model, folder, GgufFileType.F32);
        Assert.Equal(architecture, file.Get<string>("general.architecture"));
        Assert.Equal((uint)config.RotarySize, file.Get<uint>(architecture + ".rope.dimension_count"));
        Assert.Equal(
            (uint)Math.Min(RopeScaling.GetCurrentContext(config), config.SlidingWindow ?? int.MaxValue),
            file.Get<uint>(architecture + ".context_length")
        );
        if (architecture == "gptneox")
            Assert.Equal(config.ParallelResidual, file.Get<bool>("gptneox.use_parallel_residual"));
        if (golden == "phi3_tiny")
        {
            Near.AssertEqual(tensor(config.RopeScaling.LongFactors!.ToArray()), file.Open("rope_factors_long.weight"), 1e-6);
            Near.AssertEqual(tensor(config.RopeScaling.ShortFactors!.ToArray()), file.Open("rope_factors_short.weight"), 1e-6);
            Assert.Equal("longrope", file.Get<string>("phi3.rope.scaling.type"));
            Assert.Equal((float)Math.Sqrt(1 + Math.Log(64 / 16.0) / Math.Log(16)), file.Get<float>("phi3.rope.scaling.attn_factor"), 1e-6);
        }
        var others = file.Tensors.Keys.Where(n => !n.StartsWith("rope_", StringComparison.Ordinal)).ToHashSet();
        foreach (var weight in model.Weights)
        {
            var name = GgufArchitecture.Of(config).TensorName(weight.Name);
            Assert.True(others.Remove(name), name);
            var value = file.Open(name);
            if (
                architecture == "llama"
                && (name.Contains("attn_q.", StringComparison.Ordinal) || name.Contains("attn_k.", StringComparison.Ordinal))
            )
                value = LlamaOfGguf.Halves(
                    value,
                    name.Contains("attn_q", StringComparison.Ordinal) ? config.HeadCount : config.KeyValueHeadCount
                );
            if (architecture == "gptneox" && name.Contains("attn_qkv", StringComparison.Ordinal))
                value = HeadByHead(value, config.HeadCount, config.HeadSize);
            Near.AssertEqual(weight.Value, value, 0, weight.Name);
        }
        Assert.Empty(others);
    }

    // Row of part p, head h, place i: p H K + h K + i there, h 3 K + p K + i here.
    private static Tensor HeadByHead(Tensor value, int heads, int size)
    {
        var from = new long[value.size(0)];
        for (var row = 0; row < from.Length; row++)
        {
            var (part, head, place) = (row / (heads * size), row / size % heads, row % size);
            from[head * 3 * size + part * size + place] = row;
        }
        return value.index_select(0, tensor(from));
    }

    [Fact]
    public void Write_llama3_scaling_divides_each_frequency()
    {
        using var scope = NewDisposeScope();
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(Stories);
        var scaling = new RopeScalingConfig
        {
            Kind = "llama3",
            Factor = 8,
            LowFrequencyFactor = 1,
            HighFrequencyFactor = 4,
            OriginalMaxPositions = 512,
        };
        using var model = ModelLoader.Load(folder.Config with { MaxPositions = 4096, RopeScaling = scaling }, folder);
        var file = GgufExporter.Write(output["a.gguf"], model, folder, GgufFileType.F32);
        var divisors = file.Open("rope_freqs.weight");
        Assert.Equal([4], divisors.shape);
        var inverse = RopeScaling.ComputeFrequencies(model.Config, 4096).Inverse;
        for (var i = 0; i < 4; i++)
            Assert.Equal(Math.Pow(folder.Config.RopeTheta, -i / 4.0) / divisors[i].item<float>(), inverse[i], 1e-6 * inverse[i]);
    }

    [Theory]
    [InlineData("llama3", "gpt2", "llama-bpe", 128000)]
    [InlineData("qwen3", "gpt2", "qwen2", 151643)]
    [InlineData("gpt_neox", "gpt2", "gpt-2", 0)]
    [InlineData("llama2", "llama", "default", 1)]
    public void Tokenizer_of_each_kind_has_every_token_and_its_rule(string name, string model, string rule, int special)
    {
        var folder = SharedMaterial.Tokenizer(name);
        var tokenizer = TokenizerLoader.Load(folder);
        var size = tokenizer.VocabularySize + 10;
        var keys = GgufTokenizer.Keys(folder, size).ToDictionary(k => k.Key, k => k.Value);
        Assert.Equal((model, rule), (keys["tokenizer.ggml.model"], keys["tokenizer.ggml.pre"]));
        var (tokens, types) = ((IReadOnlyList<string>)keys["tokenizer.ggml.tokens"], (IReadOnlyList<int>)keys["tokenizer.ggml.token_type"]);
        Assert.Equal(size, tokens.Count);
        Assert.Equal(size, tokens.Distinct().Count());
        for (var id = 0; id < tokenizer.VocabularySize; id++)
            Assert.True(tokenizer.FindToken(tokens[id]) == id || types[id] == 5, $"token {id} is '{tokens[id]}'");
        Assert.Equal(3, types[special]);
        Assert.Equal(5, types[^1]);
    }

    // What an engine does with scores, slowly: the neighbours whose joint piece has the highest score become one, until none do.
    [Fact]
    public void Tokenizer_converted_from_SentencePiece_gets_scores_that_give_its_own_tokens()
    {
        using var copy = new TemporaryFolder();
        File.Copy(Path.Combine(SharedMaterial.Shared("tokenizers", "llama2"), "tokenizer.json"), copy["tokenizer.json"]);
        var keys = GgufTokenizer.Keys(copy.Root, 32000).ToDictionary(k => k.Key, k => k.Value);
        var (tokens, scores) = ((IReadOnlyList<string>)keys["tokenizer.ggml.tokens"], (IReadOnlyList<float>)keys["tokenizer.ggml.scores"]);
        var ids = tokens.Index().ToDictionary(t => t.Item, t => t.Index);
        var tokenizer = TokenizerLoader.Load(copy.Root);
        foreach (
            var text in (string[])
                [
                    "Call me Ishmael. Some years ago, never mind how long precisely",
                    "internationalisation of unbelievable   spaces",
                    "def f(x): return x ** 2  # 1234567",
                ]
        )
        {
            var pieces = ("\u2581" + text.Replace(' ', '\u2581')).Select(c => $"{c}").ToList();
            while (true)
            {
                var best = Enumerable
                    .Range(0, pieces.Count - 1)
                    .Where(i => ids.ContainsKey(pieces[i] + pieces[i + 1]))
                    .DefaultIfEmpty(-1)
                    .MaxBy(i => i < 0 ? 0 : scores[ids[pieces[i] + pieces[i + 1]]]);
                if (best < 0)
                    break;
                pieces[best] += pieces[best + 1];
                pieces.RemoveAt(best + 1);
            }
            Assert.Equal(tokenizer.Encode(text), pieces.Select(p => ids[p]));
        }
    }

    // Gemma's tokenizer writes no space in front of a text, Llama 2's does; a file without the key means yes.
    [Theory]
    [InlineData("""{ "type": "Replace", "pattern": { "String": " " }, "content": "\u2581" }""", false)]
    [InlineData(
        """
            { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "\u2581" },
              { "type": "Replace", "pattern": { "String": " " }, "content": "\u2581" }] }
            """,
        true
    )]
    public void Tokenizer_of_pieces_says_whether_a_space_begins_a_text(string normalizer, bool expected)
    {
        using var folder = new TemporaryFolder();
        folder.Text(
            "tokenizer.json",
            $$"""
            { "added_tokens": [{ "id": 0, "content": "<unk>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false }],
              "normalizer": {{normalizer}}, "pre_tokenizer": null, "post_processor": null,
              "decoder": { "type": "Sequence", "decoders": [{ "type": "Replace", "pattern": { "String": "\u2581" }, "content": " " },
                { "type": "ByteFallback" }, { "type": "Fuse" }] },
              "model": { "type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>",
                "vocab": { "<unk>": 0, "a": 1, "b": 2, "\u2581": 3, "ab": 4, "\u2581ab": 5 }, "merges": ["a b", "\u2581 ab"] } }
            """
        );
        var keys = GgufTokenizer.Keys(folder.Root, 6).ToDictionary(k => k.Key, k => k.Value);
        Assert.Equal(expected, keys["tokenizer.ggml.add_space_prefix"]);
        Assert.Equal(expected ? [5, 5] : [4, 5], TokenizerLoader.Load(folder.Root).Encode("ab ab", addSpecial: false));
    }

    [Fact]
    public void WriteAdapter_of_LoRA_alone_gives_its_matrices_and_trained_norms_are_refused()
    {
        using var scope = NewDisposeScope();
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("llama_tiny"));
        using var model = ModelLoader.Load(folder.Config, folder);
        using (var set = PeftFormat.Attach(SharedMaterial.Golden("llama_tiny_lora"), model))
        {
            var file = GgufExporter.WriteAdapter(output["a.gguf"], set, model, GgufFileType.F32);
            Assert.Equal(
                ("adapter", "lora", 16f),
                (file.Get<string>("general.type"), file.Get<string>("adapter.type"), file.Get<float>("adapter.lora.alpha"))
            );
            Assert.Equal(16, file.Tensors.Count);
            foreach (var layer in model.Linears.Where(l => l.Update is not null))
            {
                var name = GgufArchitecture.Of(model.Config).TensorName(layer.Name + ".weight");
                var delta = file.Open(name + ".lora_b").mm(file.Open(name + ".lora_a")).mul(2);
                var heads =
                    layer.Name.EndsWith("q_proj", StringComparison.Ordinal) ? 4
                    : layer.Name.EndsWith("k_proj", StringComparison.Ordinal) ? 2
                    : 0;
                var update = (LoraAdapter)layer.Update!;
                Near.AssertEqual(update.Delta(), heads > 0 ? LlamaOfGguf.Halves(delta, heads) : delta, 1e-6, layer.Name);
            }
        }
        using var trained = PeftFormat.Attach(
            SharedMaterial.Golden("torch", "longlora_pair"),
            model,
            new AdapterReading { Context = 64, KeepVocabulary = true }
        );
        Assert.Contains(
            "Export the merged model",
            Assert
                .Throws<ConfigurationException>(() => GgufExporter.WriteAdapter(output["b.gguf"], trained, model, GgufFileType.F16))
                .Message
        );
    }

    [Fact]
    public void Blocks_round_to_the_nearest_of_255_steps()
    {
        using var generator = new Generator(3);
        using var values = randn([32 * 50], generator: generator);
        var numbers = values.data<float>().ToArray();
        numbers.AsSpan(0, 32).Clear();
        (byte[] blocks, var back) = (new byte[34 * 50], new float[numbers.Length]);
        GgufEncoder.Encode(GgufType.Q8_0, numbers, blocks);
        GgufBlocks.Decode(GgufType.Q8_0, blocks, back);
        for (var block = 0; block < 50; block++)
        {
            var largest = numbers.Skip(block * 32).Take(32).Max(Math.Abs);
            for (var i = block * 32; i < (block + 1) * 32; i++)
                // half a step, and the scale's own rounding to fp16
                Assert.InRange(Math.Abs(back[i] - numbers[i]), 0, largest / 127 * (0.5 + 127.0 / 2048));
        }
    }

    [Fact]
    public void Read_every_truncation_and_sparse_lies_are_refused()
    {
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("torch", "tied"));
        using var model = ModelLoader.Load(folder.Config, folder);
        GgufExporter.Write(output["a.gguf"], model, folder, GgufFileType.F32);
        var whole = File.ReadAllBytes(output["a.gguf"]);
        for (var length = 0; length < whole.Length; length += 31)
        {
            File.WriteAllBytes(output["cut.gguf"], whole[..length]);
            Assert.Throws<CheckpointException>(() => GgufReader.Read(output["cut.gguf"]));
        }
        foreach (var at in (int[])[8, 16, 24]) // number of tensors, of keys, length of the first key
        {
            var lie = (byte[])whole.Clone();
            BitConverter.TryWriteBytes(lie.AsSpan(at), long.MaxValue / 64);
            File.WriteAllBytes(output["lie.gguf"], lie);
            using (var stream = File.OpenWrite(output["lie.gguf"]))
                stream.SetLength(2L << 30);
            var before = GC.GetAllocatedBytesForCurrentThread();
            Assert.Throws<CheckpointException>(() => GgufReader.Read(output["lie.gguf"]));
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 4_000_000);
        }
    }

    [Fact]
    public void Write_numbers_beyond_half_precision_are_refused()
    {
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("torch", "tied"));
        using var model = ModelLoader.Load(folder.Config, folder);
        using var large = full([8, 8], 70000f);
        model.Linears[0].Projection = new LongLora.Layers.DenseProjection(new LongLora.Layers.Weight("x", large.clone()));
        Assert.Contains(
            "Export as bf16 or f32",
            Assert.Throws<CheckpointException>(() => GgufExporter.Write(output["a.gguf"], model, folder, GgufFileType.F16)).Message
        );
        Assert.Empty(Directory.GetFiles(output.Root));
    }

    // Stories and a book, in windows of 512 tokens of the model's own.
    private static double Measure(CausalLanguageModel model, ITokenizer tokenizer)
    {
        const int length = 512;
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("ppl_tokens.safetensors"));
        using var positions = RotaryEmbedding.Create(model.Config, length);
        int[] stored = [.. cat([golden["story"], golden["book"]]).to(ScalarType.Int32).data<int>()];
        long[] own = [.. tokenizer.Encode(TokenizerLoader.Load(Stories).Decode(stored), addSpecial: false).Select(id => (long)id)];
        var ids = tensor(own[..(own.Length / length * length)]).view(-1, length);
        var logits = model
            .ComputeLogits(ids, new ForwardContext(new LongLora.Attention.FullAttention(), positions))
            .narrow(1, 0, length - 1);
        return nn.functional.cross_entropy(logits.reshape(-1, logits.size(2)), ids.narrow(1, 1, length - 1).flatten()).exp().item<float>();
    }

    /// <summary>
    /// The tensors of a llama GGUF under Hugging Face's names and in its layout: the tests' own way back, element by element.
    /// </summary>
    private sealed class LlamaOfGguf(GgufReader file, ModelConfig config) : ITensorSource
    {
        private readonly Dictionary<string, string> _names = file.Tensors.Keys.ToDictionary(n =>
            n.Replace("token_embd", "model.embed_tokens")
                .Replace("output_norm", "model.norm")
                .Replace("blk.", "model.layers.")
                .Replace("attn_norm", "input_layernorm")
                .Replace("ffn_norm", "post_attention_layernorm")
                .Replace("attn_output", "self_attn.o_proj")
                .Replace("attn_q", "self_attn.q_proj")
                .Replace("attn_k", "self_attn.k_proj")
                .Replace("attn_v", "self_attn.v_proj")
                .Replace("ffn_gate", "mlp.gate_proj")
                .Replace("ffn_up", "mlp.up_proj")
                .Replace("ffn_down", "mlp.down_proj")
        );

        public IReadOnlyDictionary<string, TensorInfo> Tensors =>
            _names.ToDictionary(n => n.Key, n => new TensorInfo(n.Key, ScalarType.Float32, file.Tensors[n.Value].Shape, file.Path));

        public Tensor Open(string name)
        {
            var value = file.Open(_names[name]);
            var heads =
                name.Contains("q_proj", StringComparison.Ordinal) ? config.HeadCount
                : name.Contains("k_proj", StringComparison.Ordinal) ? config.KeyValueHeadCount
                : 0;
            return heads > 0 ? Halves(value, heads) : value;
        }

        // Row 2 i + j of a head, j in {0, 1}, goes back to row j K/2 + i.
        internal static Tensor Halves(Tensor value, int heads)
        {
            var size = value.size(0) / heads;
            var from = new long[value.size(0)];
            for (var row = 0; row < from.Length; row++)
            {
                var (head, place) = (row / size, row % size);
                from[head * size + place % 2 * (size / 2) + place / 2] = row;
            }
            return value.index_select(0, tensor(from));
        }

        public void Dispose() { }
    }
}
