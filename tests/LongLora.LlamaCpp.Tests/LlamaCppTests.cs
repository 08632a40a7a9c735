using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runs;
using LongLora.Tests;
using LongLora.Tests.Export;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.LlamaCpp.Tests;

// L tokens, V vocabulary

/// <summary>What <c>export gguf</c> writes, opened by llama.cpp itself: its logits and tokens are ours.</summary>
public sealed class LlamaCppTests : IDisposable
{
    // llama.cpp looks GELU up in a table of fp16 numbers, and has its tanh form only.
    private const double Exact = 2e-5,
        WithGelu = 1e-3;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string Stories => SharedMaterial.Golden("stories260K-hf");

    private static string Bundled => Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");

    [Theory]
    [InlineData("llama_tiny", Exact)]
    [InlineData("mistral_tiny", Exact)]
    [InlineData("qwen2_tiny", Exact)]
    [InlineData("qwen3_tiny", Exact)]
    [InlineData("phi3_tiny", Exact)]
    [InlineData("neox_tiny", WithGelu)]
    [InlineData("neox_serial_tiny", WithGelu)]
    public void Logits_of_every_family_are_ours(string family, double tolerance) => Compare(SharedMaterial.Golden(family), tolerance);

    [Theory]
    [InlineData("linear")]
    [InlineData("yarn")]
    [InlineData("llama3")]
    [InlineData("longrope")]
    [InlineData(RopeScaling.ByLength)]
    public void Logits_under_every_scaling_are_ours(string kind) =>
        Compare(Stories, Exact, config => RopeScaling.Extend(config, kind, null, 1024));

    // An engine that is given no more than the original context takes the divisors of short text, as we do for a text of that length.
    [Theory]
    [InlineData("longrope")]
    [InlineData(RopeScaling.ByLength)]
    public void Logits_of_short_text_under_longrope_are_ours(string kind) =>
        Compare(Stories, Exact, config => RopeScaling.Extend(config, kind, null, 1024), 512);

    [Theory]
    [InlineData("mistral_tiny", "yarn", Exact)]
    [InlineData("mistral_tiny", "llama3", Exact)]
    [InlineData("mistral_tiny", "longrope", Exact)]
    [InlineData("qwen2_tiny", "linear", Exact)]
    [InlineData("qwen2_tiny", "yarn", Exact)]
    [InlineData("qwen3_tiny", "yarn", Exact)]
    [InlineData("neox_tiny", "linear", WithGelu)]
    [InlineData("neox_tiny", "yarn", WithGelu)]
    public void Logits_of_stretched_families_are_ours(string family, string kind, double tolerance) =>
        Compare(SharedMaterial.Golden(family), tolerance, config =>
            RopeScaling.Extend(config with { SlidingWindow = null }, kind, null, 256)
        );

    [Theory]
    [MemberData(nameof(GgufFamilies.Names), MemberType = typeof(GgufFamilies))]
    public void Logits_of_further_families_are_ours(string name)
    {
        GgufFamilies.Write(_folder["model"], name);
        // llama.cpp rounds the range of YaRN, and gpt-oss does not.
        Func<ModelConfig, ModelConfig>? there =
            name == "gpt_oss_yarn" ? config => config with { RopeScaling = config.RopeScaling with { Truncate = null } } : null;
        Compare(_folder["model"], ToleranceOf(name), length: 128, there: there);
        if (!GgufFamilies.HasGelu(name))
            return;
        // What is left without GELU is exact.
        GgufFamilies.Write(_folder["closed"], name, isGateClosed: true);
        Compare(_folder["closed"], Exact, length: 128);
    }

    // Tensors that engines want in fp32 are, whatever the type of the rest; llama.cpp rounds what it multiplies with F16 to 16 bits.
    [Theory]
    [MemberData(nameof(GgufFamilies.Names), MemberType = typeof(GgufFamilies))]
    public void Further_families_in_half_precision_compute_as_here(string name) => CompareRounded(name, GgufFileType.F16, 2e-2);

    [Theory]
    [InlineData("mixtral_wide", GgufFileType.Q8_0)]
    [InlineData("mixtral_wide", GgufFileType.Q4_K_M)]
    [InlineData("qwen3_moe_wide", GgufFileType.Q4_0)]
    [InlineData("gpt_oss_wide", GgufFileType.Q8_0)]
    public void Stacked_experts_in_blocks_compute_as_here(string name, GgufFileType type) => CompareRounded(name, type, 5e-2);

    private void CompareRounded(string name, GgufFileType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        GgufFamilies.Write(_folder["model"], name, isGateClosed: GgufFamilies.HasGelu(name));
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using (var model = ModelLoader.Load(folder.Config, folder))
            GgufExporter.Write(_folder["a.gguf"], model, folder, type, withTokenizer: false);
        using var file = GgufModel.Open(_folder["a.gguf"]);
        using var again = ModelLoader.Load(file.Config, file.Weights);
        int[] ids = [.. Enumerable.Range(0, 24).Select(i => i * 7 % file.Config.VocabularySize)];
        using var engine = new Engine(_folder["a.gguf"], 64);
        var ours = Logits(again, ids);
        // Rounding may let a router choose other experts; most tokens keep theirs.
        var differences = (ours - engine.Logits(ids)).abs().amax(1) / ours.abs().max();
        Assert.InRange(differences.median().item<float>(), 0, tolerance);
    }

    // llama.cpp bounds the length of the recurrence's keys by epsilon, and Qwen3.5 adds it; small models have short keys. Gemma 4's tiny
    // model makes more of any rounding than others.
    private static double ToleranceOf(string name) =>
        name == "qwen3_5" ? 1e-3
        : name.StartsWith("gemma4", StringComparison.Ordinal) ? 1e-2
        : GgufFamilies.HasGelu(name) ? WithGelu
        : Exact;

    private void Compare(
        string path,
        double tolerance,
        Func<ModelConfig, ModelConfig>? change = null,
        int? length = null,
        Func<ModelConfig, ModelConfig>? there = null
    )
    {
        using var scope = NewDisposeScope();
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(change?.Invoke(folder.Config) ?? folder.Config, folder);
        var file = GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F32, withTokenizer: false);
        var context = length ?? (int)file.Get<uint>(file.Get<string>("general.architecture") + ".context_length");
        var random = new Random(5);
        int[] ids = [.. Enumerable.Range(0, context).Select(_ => random.Next(model.Config.VocabularySize))];
        using var engine = new Engine(_folder["a.gguf"], context);
        using var same = there is null ? null : ModelLoader.Load(there(folder.Config), folder);
        var ours = Logits(same ?? model, ids);
        var difference = ((ours - engine.Logits(ids)).abs().max() / ours.abs().max()).item<float>();
        TestContext.Current.SendDiagnosticMessage($"{Path.GetFileName(path)} {model.Config.RopeScaling.Kind} {context}: {difference:G3}");
        Assert.True(difference <= tolerance, $"the largest difference of logits is {difference} of the largest");
    }

    // Our perplexity, which is the same for every type; the tests of one class run one after the other.
    private static readonly Dictionary<string, double> s_ours = [];

    // A book in the model's whole context. llama.cpp rounds what it multiplies with F16, BF16 and Q8_0 to 16 and 8 bits.
    [Theory]
    [InlineData(GgufFileType.F32, 1e-5)]
    [InlineData(GgufFileType.F16, 1e-3)]
    [InlineData(GgufFileType.Bf16, 5e-3)]
    [InlineData(GgufFileType.Q8_0, 5e-3)]
    public void Perplexity_of_real_models_is_ours(GgufFileType type, double tolerance)
    {
        foreach (var path in (string[])[Stories, Bundled])
        {
            using var scope = NewDisposeScope();
            var folder = CheckpointDirectory.Open(path);
            using var model = ModelLoader.Load(folder.Config, folder);
            GgufExporter.Write(_folder["a.gguf"], model, folder, type, withTokenizer: false);
            using var engine = new Engine(_folder["a.gguf"], 512);
            var ids = TokenizerLoader.Load(path).Encode(Book(), addSpecial: false);
            var windows = ids.Chunk(512).Where(window => window.Length == 512).Take(3).ToList();
            if (!s_ours.TryGetValue(path, out var ours))
                s_ours[path] = ours = Math.Exp(windows.Average(window => Loss(Logits(model, window), window)));
            var theirs = Math.Exp(windows.Average(window => Loss(engine.Logits(window), window)));
            TestContext.Current.SendDiagnosticMessage(
                $"{Path.GetFileName(path)} {type}: {new FileInfo(_folder["a.gguf"]).Length} bytes, {windows.Count} windows, perplexity "
                    + $"{ours:F4}, in llama.cpp {theirs:F4} ({100 * (theirs / ours - 1):F4} %)"
            );
            Assert.InRange(Math.Abs(theirs / ours - 1), 0, tolerance);
        }
    }

    [Theory]
    [InlineData("stories260K-hf", "Once upon a time, there was a")]
    [InlineData("longlora-tiny", "The pass key is 49674. What is the pass key? The pass key is")]
    public void Greedy_answer_and_tokens_of_a_real_checkpoint_are_ours(string name, string question)
    {
        using var scope = NewDisposeScope();
        var path = name == "longlora-tiny" ? Bundled : Stories;
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder);
        GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F32);
        using var engine = new Engine(_folder["a.gguf"], 512);
        var tokenizer = TokenizerLoader.Load(path);
        var prompt = tokenizer.Encode(question, addSpecial: true);
        Assert.Equal(prompt, engine.Tokens(question, addSpecial: true));
        Assert.Equal(tokenizer.Encode(Book()), engine.Tokens(Book()));
        var expected = new List<int>();
        for (var i = 0; i < 30; i++)
            expected.Add((int)Logits(model, [.. prompt, .. expected])[^1].argmax().item<long>());
        Assert.Equal(expected, engine.Greedy(prompt, 30));
    }

    // What 'tokenizer train' writes has a rule that engines name.
    [Fact]
    public void Tokens_of_a_tokenizer_that_is_trained_here_are_ours()
    {
        using var scope = NewDisposeScope();
        var practice = new RetrievalPractice(new SplitMix64(3));
        var texts = Enum.GetValues<PracticeKind>().Select(kind => practice.Write(kind, 4000)).Append(Book()).ToList();
        ByteLevelTokenizerWriter.Write(_folder["tokenizer"], BpeTrainer.Train(BpeTrainer.CountWords(texts), 700));
        File.WriteAllText(
            _folder["config.json"],
            """
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 958, "hidden_size": 32, "intermediate_size": 64,
             "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
             "hidden_act": "silu", "torch_dtype": "float32", "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1}
            """
        );
        NewModel.Write(_folder["model"], _folder["config.json"], _folder["tokenizer"], 64, 1);
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(folder.Config, folder);
        var file = GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F32);
        Assert.Equal("gpt-2", file.Get<string>("tokenizer.ggml.pre"));
        using var engine = new Engine(_folder["a.gguf"], 64);
        var tokenizer = TokenizerLoader.Load(_folder["model"]);
        texts.AddRange([
            "1 12 123 1234 12345  678\n\n90\t1",
            "isn't 'tis IT'S we've",
            "  (foo) naïve façade ½ 漢字 🦙\r\n x",
            "²³ 49674.5e-3",
        ]);
        foreach (var text in texts)
        {
            Assert.Equal(tokenizer.Encode(text), engine.Tokens(text));
            Assert.Equal(tokenizer.Encode(text, addSpecial: true), engine.Tokens(text, addSpecial: true));
        }
        var prompt = tokenizer.Encode("The pass key is 49674.", addSpecial: true);
        Assert.Equal((int)Logits(model, [.. prompt])[^1].argmax().item<long>(), engine.Greedy(prompt, 1)[0]);
    }

    [Theory]
    [InlineData("llama_tiny", "llama_tiny_lora", Exact)]
    [InlineData("mistral_tiny", null, Exact)]
    [InlineData("qwen2_tiny", null, Exact)]
    [InlineData("qwen3_tiny", null, Exact)]
    [InlineData("phi3_tiny", null, Exact)]
    [InlineData("neox_tiny", null, WithGelu)]
    public void Logits_with_an_adapter_of_its_own_file_are_ours(string family, string? adapter, double tolerance)
    {
        using var scope = NewDisposeScope();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden(family));
        using var model = ModelLoader.Load(folder.Config with { SlidingWindow = null }, folder);
        GgufExporter.Write(_folder["base.gguf"], model, folder, GgufFileType.F32, withTokenizer: false);
        int[] ids = [.. Enumerable.Range(0, 30).Select(i => i * 7 % model.Config.VocabularySize)];
        var plain = Logits(model, ids);
        using var set = adapter is null
            ? AdapterSet.Attach(
                model,
                new AdapterOptions
                {
                    Rank = 4,
                    TrainEmbeddings = false,
                    TrainNorms = false,
                },
                3
            )
            : PeftFormat.Attach(SharedMaterial.Golden(adapter), model);
        using var generator = new Generator(8, CPU);
        foreach (var weight in set.Weights.Where(_ => adapter is null))
            weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.1));
        GgufExporter.WriteAdapter(_folder["adapter.gguf"], set, model, GgufFileType.F32);
        var ours = Logits(model, ids);
        using var engine = new Engine(_folder["base.gguf"], 64, _folder["adapter.gguf"]);
        var (largest, difference) = (ours.abs().max().item<float>(), (ours - engine.Logits(ids)).abs().max().item<float>());
        Assert.True((ours - plain).abs().max().item<float>() > 1e-2 * largest, "the adapter does nothing");
        Assert.True(difference <= tolerance * largest, $"the largest difference of logits is {difference / largest} of the largest");
    }

    [Theory]
    [InlineData(GgufFileType.F32)]
    [InlineData(GgufFileType.Q8_0)]
    public void Split_base_and_adapter_are_the_model_with_its_trained_embeddings(GgufFileType type)
    {
        using var scope = NewDisposeScope();
        var stories = SharedMaterial.Golden("stories260K-hf");
        var folder = CheckpointDirectory.Open(stories);
        using (var model = ModelLoader.Load(RopeScaling.Extend(folder.Config, "linear", null, 1024), folder))
        using (var set = AdapterSet.Attach(model, new AdapterOptions { Rank = 4 }, 3))
        using (var generator = new Generator(8, CPU))
        {
            foreach (var weight in set.Weights)
                weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.02));
            Directory.CreateDirectory(_folder["adapter"]);
            PeftFormat.Write(_folder["adapter"], set, model, stories);
        }
        using var whole = LoadedModel.Open(stories, new LoadOptions { Adapter = _folder["adapter"], Device = "cpu" });
        SplitExporter.Write(_folder["split"], whole, new ExportOptions(), type);
        int[] ids = [.. Enumerable.Range(1, 30).Select(i => i * 7 % 500)];
        var ours = Logits(whole.Network, ids);
        using var engine = new Engine(_folder["split", "base.gguf"], 64, _folder["split", "adapter.gguf"]);
        using var bare = new Engine(_folder["split", "base.gguf"], 64);
        var (largest, difference) = (ours.abs().max().item<float>(), (ours - engine.Logits(ids)).abs().max().item<float>());
        Assert.True((ours - bare.Logits(ids)).abs().max().item<float>() > 3 * difference, "the adapter does nothing");
        var tolerance = type == GgufFileType.F32 ? Exact : 0.05; // 8 bits, and llama.cpp rounds activations to 8 bits with them
        Assert.True(difference <= tolerance * largest, $"the largest difference of logits is {difference / largest} of the largest");
    }

    [Theory]
    [InlineData("llama2", "llama-spm")]
    [InlineData("llama3", "llama-bpe")]
    [InlineData("qwen3", "qwen2")]
    [InlineData("gpt_neox", "gpt-2")]
    [InlineData("smollm", "gpt-2")]
    public void Tokens_of_real_tokenizers_are_ours(string name, string vectors)
    {
        var path = name == "smollm" ? DigitByDigit(SharedMaterial.Tokenizer("gpt_neox")) : SharedMaterial.Tokenizer(name);
        var texts = File.ReadAllText(SharedMaterial.Shared("tokenizers", "vectors", $"ggml-vocab-{vectors}.gguf.inp"))
            .Split("\n__ggml_vocab_test__\n")
            .ToList();
        texts.Add(Book());
        texts.AddRange(["<|im_start|>user\nHi<|im_end|>", "<|begin_of_text|>x<|eot_id|>", "a<|endoftext|>b"]);
        if (name == "llama2")
            texts.Add("<s>a</s>"); // a word like others to Qwen 3, which llama.cpp takes for the end of a text all the same
        var tokenizer = TokenizerLoader.Load(path);
        var size = tokenizer.VocabularySize + 5;
        _folder.Text(
            "config.json",
            $$"""
            { "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
              "num_key_value_heads": 1, "vocab_size": {{size}}, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "float32" }
            """
        );
        NewModel.Write(_folder["model"], _folder["config.json"], path, 64, 1);
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using (var model = ModelLoader.Load(folder.Config, folder))
            GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F16);
        using var engine = new Engine(_folder["a.gguf"], 64);
        var wrong = new List<string>();
        foreach (var text in texts)
        {
            foreach (var (addSpecial, parseSpecial) in ((bool, bool)[])[(true, false), (false, true)])
            {
                var (ours, theirs) = (tokenizer.Encode(text, addSpecial, parseSpecial), engine.Tokens(text, addSpecial, parseSpecial));
                if (!ours.SequenceEqual(theirs))
                    wrong.Add(
                        $"{(text.Length > 60 ? text[..60] : text)}: {string.Join(' ', ours.Take(20))} | {string.Join(' ', theirs.Take(20))}"
                    );
            }
        }
        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    // SmolLM's way to cut words, with the vocabulary of another.
    private string DigitByDigit(string path)
    {
        var json = JsonNode.Parse(File.ReadAllText(Path.Combine(path, "tokenizer.json")))!;
        json["pre_tokenizer"] = JsonNode.Parse(
            """
            { "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true }] }
            """
        );
        Directory.CreateDirectory(_folder["tokenizer"]);
        File.WriteAllText(_folder["tokenizer", "tokenizer.json"], json.ToJsonString());
        return _folder["tokenizer"];
    }

    private static string Book()
    {
        using var scope = NewDisposeScope();
        using var file = GoldenTensors.Read(SharedMaterial.Golden("ppl_tokens.safetensors"));
        return TokenizerLoader.Load(Stories).Decode([.. file["book"].to(ScalarType.Int32).data<int>()]);
    }

    private static double Loss(Tensor logits, int[] ids) =>
        nn.functional.cross_entropy(logits[..^1], tensor(ids[1..], ScalarType.Int64)).item<float>();

    private static Tensor Logits(CausalLanguageModel model, int[] ids)
    {
        using var positions = RotaryEmbedding.Create(model.Config, ids.Length);
        return model.ComputeLogits(tensor(ids, ScalarType.Int64).unsqueeze(0), new ForwardContext(new FullAttention(), positions))[0];
    }
}
