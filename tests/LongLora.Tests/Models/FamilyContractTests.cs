using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Export;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>
/// What every family must do, each a tiny model folder. Of the first ones an independent implementation's results are a part of the project
/// (Goldens/README.md); of the others transformers' lie beside it (<see cref="FamilyGoldenTests"/>), and where they do not, the folder is
/// made from the config. A new family is one more line in the list.
/// </summary>
public sealed class FamilyContractTests : IDisposable
{
    private const int Group = 16;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> WithOwnGoldens { get; } =
    ["llama_tiny", "mistral_tiny", "qwen2_tiny", "qwen3_tiny", "phi3_tiny", "neox_tiny", "neox_serial_tiny"];

    public static TheoryData<string> Families { get; } =
    [
        .. WithOwnGoldens.Select(row => row.Data),
        "smollm3",
        "ministral3",
        "seed_oss",
        "olmo2",
        "granite",
        "exaone4",
        "olmo3",
        "glm4",
        "glm",
        "gemma3_text",
        "mixtral",
        "qwen3_moe",
        "gpt_oss",
        "arcee",
        "apertus",
        "cohere2",
        "hunyuan_v1_dense",
        "ernie4_5",
        "gemma2",
        "qwen3_5",
        "gemma4",
        "gemma4_moe",
    ];

    private string Locate(string family) => Locate(_folder, family);

    /// <summary>A folder with a model of the family.</summary>
    internal static string Locate(TemporaryFolder scratch, string family)
    {
        var own = SharedMaterial.Golden(family);
        if (Directory.Exists(own))
            return own;
        if (SharedMaterial.FindShared("goldens", "families", family) is { } shared)
            return shared;
        var folder = scratch["model-" + family];
        if (Directory.Exists(folder))
            return folder;
        // Larger weights than a new model has, so that every part shows.
        var config = File.ReadAllText(SharedMaterial.Golden("families", family + ".json"));
        using var model = ModelLoader.Create(ModelConfigReader.Parse(config), 3);
        using var generator = new Generator(4, CPU);
        using (no_grad())
        {
            foreach (var weight in model.Weights.Where(w => !w.IsConstant))
                weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.12));
        }
        Directory.CreateDirectory(folder);
        SafetensorsWriter.WriteModel(folder, [.. model.Weights.Select(w => TensorToWrite.Of(w.Name, w.Value))]);
        File.WriteAllText(Path.Combine(folder, "config.json"), config);
        return folder;
    }

    private static CausalLanguageModel Load(
        string path,
        QuantizationKind quantization = QuantizationKind.None,
        Func<ModelConfig, ModelConfig>? change = null
    )
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(change?.Invoke(folder.Config) ?? folder.Config, folder, null, quantization);
    }

    private static Tensor Logits(CausalLanguageModel model, Tensor ids, IAttention attention)
    {
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        return model.ComputeLogits(ids, new ForwardContext(attention, positions));
    }

    private static Tensor Ids(CausalLanguageModel model, int rows, int length)
    {
        using var generator = new Generator(5, CPU);
        return randint(0, model.Config.VocabularySize, [rows, length], ScalarType.Int64, generator: generator);
    }

    private static AdapterSet AttachTrained(CausalLanguageModel model, AdapterOptions options)
    {
        var set = AdapterSet.Attach(model, options, 3);
        using var generator = new Generator(8, CPU);
        foreach (var weight in set.Weights)
            weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.05));
        return set;
    }

    private static bool SameBits(Tensor a, Tensor b) => a.equal(b).all().item<bool>();

    [Theory]
    [MemberData(nameof(WithOwnGoldens))]
    public void Logits_loss_and_gradients_equal_golden(string family)
    {
        foreach (
            var (file, attention) in new (string, IAttention)[]
            {
                ("full", new FullAttention()),
                ("s2_flash", new ShiftedSparseAttention(Group)),
            }
        )
        {
            using var scope = NewDisposeScope();
            using var golden = GoldenTensors.Read(SharedMaterial.Golden(family, file + ".safetensors"));
            using var model = Load(SharedMaterial.Golden(family));
            using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = true }, 0);
            using var parameters = new ParameterBuffer(set.Weights);
            var ids = golden["input_ids"];
            using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
            var context = new ForwardContext(attention, positions);
            Near.AssertRelative(golden["logits"], model.ComputeLogits(ids, context), 1e-5, file);
            var targets = LlamaGoldenTests.Targets(ids);
            var count = targets.ge(0).sum().item<long>();
            using var pass = new CheckpointedPass(model);
            var loss = pass.ForwardBackward(ids, targets, context, 1.0 / count).item<double>() / count;
            Assert.Equal(golden["loss"].item<double>(), loss, 1e-6);
            var stored = golden.Names.Where(n => n.StartsWith("grad.", StringComparison.Ordinal)).ToHashSet();
            foreach (var weight in set.Weights.Where(w => stored.Remove("grad." + w.Name)))
                Near.AssertRelative(golden["grad." + weight.Name], weight.GetGradient(), 2e-5, $"{file}: {weight.Name}");
            Assert.Empty(stored);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_changing_a_token_changes_no_earlier_one(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(Locate(family));
        var ids = Ids(model, 1, 44);
        foreach (var attention in new IAttention[] { new FullAttention(), new ShiftedSparseAttention(Group) })
        {
            var before = Logits(model, ids, attention);
            foreach (var t in new[] { 1, 8, 16, 29, 43 })
            {
                var changed = ids.clone();
                changed[0, t] = (ids[0, t] + 1).remainder(model.Config.VocabularySize);
                var difference = (Logits(model, changed, attention) - before).abs().amax([0, 2]);
                // Where experts get other rows beside these, their products round in another way.
                Assert.InRange(difference.narrow(0, 0, t).max().item<float>(), 0, model.Config.Experts is null ? 0 : 1e-5f);
                Assert.NotEqual(0f, difference[t].item<float>());
            }
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_under_sparse_attention_and_window_equal_a_dense_mask(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(Locate(family));
        foreach (var length in new[] { 44, 9 })
        {
            var ids = Ids(model, 2, length);
            using var positions = RotaryEmbedding.Create(model.Config, length);
            using var noGradient = no_grad();
            var expected = PlainPass.Logits(model, ids, new ForwardContext(new DenseMaskAttention(Group), positions));
            Near.AssertRelative(expected, Logits(model, ids, new ShiftedSparseAttention(Group)), ToleranceOf(family));
        }
    }

    // A recurrent state adds up rounding over the whole text, in another order for chunks than for single tokens, and Gemma 4's tiny model
    // makes much of any: transformers' own fp32 runs of the golden models are as far from float64.
    private static double ToleranceOf(string family) =>
        family.StartsWith("qwen3_5", StringComparison.Ordinal) ? 5e-5
        : family == "gemma4" ? 1e-4
        : 2e-5;

    // The gradients of Apertus's activation are sums over all numbers of an MLP, which almost cancel each other. For recurrent states, see
    // above.
    private static double GradientToleranceOf(string family) =>
        family == "gemma4" ? 3e-4
        : family == "apertus" || family.StartsWith("qwen3_5", StringComparison.Ordinal) ? 1e-4
        : 2e-5;

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_with_a_cache_equal_those_without(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(Locate(family));
        var ids = Ids(model, 1, 44);
        using var positions = RotaryEmbedding.Create(model.Config, 44);
        using var cache = new KeyValueCache(model, 44);
        using var again = new KeyValueCache(model, 44);
        var (parts, lasts) = (new List<Tensor>(), new List<Tensor>());
        foreach (var count in new[] { 17, 1, 13, 1, 1, 11 })
        {
            var next = ids.narrow(1, cache.GetLength(0), count).data<long>().ToArray();
            parts.Add(CachedPass.Read(model, next, cache, 0, positions));
            lasts.Add(CachedPass.Read(model, next, again, 0, positions, last: Math.Min(count, 3)));
        }
        using var noGradient = no_grad();
        foreach (var (part, last) in parts.Zip(lasts))
            Near.AssertRelative(part.narrow(0, part.size(0) - last.size(0), last.size(0)), last, ToleranceOf(family));
        Near.AssertRelative(Logits(model, ids, new FullAttention())[0], model.ApplyHead(cat(parts, 0)), ToleranceOf(family));
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Lean_pass_has_the_gradients_of_plain_autograd_and_leaves_nothing_behind(string family)
    {
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        foreach (
            var options in new[]
            {
                new AdapterOptions { Rank = 4 },
                new AdapterOptions { TrainEverything = true },
            }
        )
        {
            using var scope = NewDisposeScope();
            using var model = Load(Locate(family));
            using var set = AttachTrained(model, options);
            using var parameters = new ParameterBuffer(set.Weights);
            var ids = Ids(model, 2, 44);
            var targets = LlamaGoldenTests.Targets(ids);
            using var positions = RotaryEmbedding.Create(model.Config, 44);
            var context = new ForwardContext(
                new ShiftedSparseAttention(Group),
                positions,
                [
                    [20, 24],
                    [44],
                ]
            );
            var plainLoss = PlainPass.Loss(model, ids, targets, context);
            plainLoss.backward();
            var plain = set.Weights.Select(w => w.GetGradient().clone()).ToList();
            foreach (var blocks in new[] { 1, 2 })
            {
                parameters.ClearGradients();
                var before = Live();
                using (var pass = new CheckpointedPass(model, blocks))
                using (var loss = pass.ForwardBackward(ids, targets, context, 1.0 / 86))
                    Assert.Equal(plainLoss.item<float>(), loss.item<double>() / 86, 2e-6);
                Assert.Equal(before, Live());
                foreach (var (weight, expected) in set.Weights.Zip(plain))
                    Near.AssertRelative(expected, weight.GetGradient(), GradientToleranceOf(family), weight.Name);
            }
        }
    }

    // Long enough for several passes over the heads, several tiles of the MLP and many windows.
    [Theory]
    [InlineData("phi3")]
    [InlineData("qwen3")]
    [InlineData("gpt_neox")]
    [InlineData("olmo2")]
    [InlineData("gemma2")]
    [InlineData("gpt_oss")]
    [InlineData("glm4")]
    [InlineData("hunyuan_v1_dense")]
    [InlineData("qwen3_5_text")]
    [InlineData("qwen3_5_text", true)]
    [InlineData("gemma4_text")]
    public void Lean_pass_in_many_pieces_has_the_gradients_of_plain_autograd(string type, bool isLinear = false)
    {
        const int length = 8300;
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(
            ManyPieces
                .Describe(type, length, layers: type == "gemma4_text" ? 2 : 1)
                .PlanLayers((layer, plan) => plan with { IsLinear = isLinear, KeysOf = layer == 0 ? null : 0 }),
            1
        );
        using var set = AttachTrained(model, new AdapterOptions { Rank = 4 });
        using var parameters = new ParameterBuffer(set.Weights);
        var ids = Ids(model, 1, length);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(model.Config, length);
        var context = new ForwardContext(new ShiftedSparseAttention(256), positions);
        using (NewDisposeScope())
            PlainPass.Loss(model, ids, targets, context).backward();
        var plain = set.Weights.Select(w => w.GetGradient().clone()).ToList();
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model);
        pass.ForwardBackward(ids, targets, context, 1.0 / (length - 1));
        foreach (var (weight, expected) in set.Weights.Zip(plain))
            Near.AssertRelative(expected, weight.GetGradient(), 2e-5, weight.Name);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Adapter_on_every_linear_layer_trains_it_saves_it_and_merges_it(string family)
    {
        using var scope = NewDisposeScope();
        var path = Locate(family);
        Tensor ids,
            attached;
        using (var model = Load(path))
        using (var origin = CheckpointDirectory.Open(path))
        {
            using var set = AttachTrained(model, new AdapterOptions { Rank = 2, TargetModules = [AdapterOptions.AllLayers] });
            Assert.Equal(model.Linears.Count(l => l != model.Head), set.Adapters.Count);
            using var parameters = new ParameterBuffer(set.Weights);
            ids = Ids(model, 2, 44);
            var targets = LlamaGoldenTests.Targets(ids);
            using var positions = RotaryEmbedding.Create(model.Config, 44);
            var context = new ForwardContext(new ShiftedSparseAttention(Group), positions);
            PlainPass.Loss(model, ids, targets, context).backward();
            var plain = set.Weights.Select(w => w.GetGradient().clone()).ToList();
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model);
            pass.ForwardBackward(ids, targets, context, 1.0 / 86);
            foreach (var (weight, expected) in set.Weights.Zip(plain))
                Near.AssertRelative(expected, weight.GetGradient(), GradientToleranceOf(family), weight.Name);
            attached = Logits(model, ids, new FullAttention());
            PeftFormat.Write(_folder["adapter"], set, model, "base");
            HuggingFaceExporter.Write(_folder["merged"], model, origin);
        }
        using (var model = Load(path))
        using (PeftFormat.Attach(_folder["adapter"], model))
            Assert.True(SameBits(attached, Logits(model, ids, new FullAttention())), "the saved adapter gives other bits");
        using var merged = Load(_folder["merged"]);
        Near.AssertRelative(attached, Logits(merged, ids, new FullAttention()), ToleranceOf(family), "merged");
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Training_resumed_from_a_state_ends_with_the_bits_of_one_run(string family)
    {
        using var scope = NewDisposeScope();
        var path = Locate(family);
        void Train(int steps, string? from, string to)
        {
            using var inner = NewDisposeScope();
            using var model = Load(path);
            using var set = AdapterSet.Attach(model, new AdapterOptions { Rank = 2 }, 4);
            using var parameters = new ParameterBuffer(set.Weights);
            using var optimizer = new AdamW(parameters, new AdamWOptions());
            var sampler = from is null ? new BatchSamplerState(0, 0, 0) : TrainingState.Restore(from, optimizer, parameters, "same");
            var ids = Ids(model, 1, 40);
            using var positions = RotaryEmbedding.Create(model.Config, 40);
            using var pass = new CheckpointedPass(model);
            for (var step = 0; step < steps; step++)
            {
                parameters.ClearGradients();
                var context = new ForwardContext(new ShiftedSparseAttention(Group), positions);
                pass.ForwardBackward(ids, LlamaGoldenTests.Targets(ids), context, 1.0 / 39);
                optimizer.Step(1e-3, parameters.ComputeGradientNorm());
            }
            Directory.CreateDirectory(to);
            new TrainingState(optimizer, parameters, sampler).Save(to, "same");
        }
        Train(3, null, _folder["whole"]);
        Train(1, null, _folder["begun"]);
        Train(2, _folder["begun"], _folder["resumed"]);
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(_folder["whole"], "training_state.safetensors")),
            File.ReadAllBytes(Path.Combine(_folder["resumed"], "training_state.safetensors"))
        );
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Adapter_begins_at_the_base_and_is_the_same_after_saving_and_merging(string family)
    {
        using var scope = NewDisposeScope();
        var path = Locate(family);
        ModelConfig Longer(ModelConfig c) => c.RopeScaling.Kind == "longrope" ? c : RopeScaling.Extend(c, "auto", null, 150);
        Tensor ids,
            attached;
        using (var model = Load(path, change: Longer))
        using (var origin = CheckpointDirectory.Open(path))
        {
            ids = Ids(model, 1, 60);
            var plain = Logits(model, ids, new FullAttention());
            using (var begun = AdapterSet.Attach(model, new AdapterOptions(), 2))
            {
                Assert.Equal(model.Blocks.Sum(b => b.AttentionLayers.Count), begun.Adapters.Count);
                Assert.True(SameBits(plain, Logits(model, ids, new FullAttention())));
            }
            using var set = AttachTrained(model, new AdapterOptions { Rank = 4 });
            attached = Logits(model, ids, new FullAttention());
            Assert.True(Near.Difference(plain, attached) > 1e-3);
            PeftFormat.Write(_folder["adapter"], set, model, "base");
            HuggingFaceExporter.Write(_folder["merged"], model, origin);
        }
        using (var loaded = LoadedModel.Open(path, new LoadOptions { Adapter = _folder["adapter"], Device = "cpu" }))
            Assert.True(SameBits(attached, Logits(loaded.Network, ids, new FullAttention())), "the saved adapter gives other bits");
        using var merged = Load(_folder["merged"]);
        Near.AssertRelative(attached, Logits(merged, ids, new FullAttention()), ToleranceOf(family), "merged");
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Saved_model_has_the_same_files(string family)
    {
        var path = Locate(family);
        using (var origin = CheckpointDirectory.Open(path))
        using (var model = Load(path))
            HuggingFaceExporter.Write(_folder["copy"], model, origin);
        using var first = CheckpointDirectory.Open(path);
        using var second = CheckpointDirectory.Open(_folder["copy"]);
        Assert.Equal(first.Tensors.Keys.Order(StringComparer.Ordinal), second.Tensors.Keys.Order(StringComparer.Ordinal));
        foreach (var name in first.Tensors.Keys)
        {
            using var scope = NewDisposeScope();
            Assert.True(SameBits(first.Open(name), second.Open(name)), name);
        }
        Assert.Equal(ModelConfigWriter.Create(first.Config), ModelConfigWriter.Create(second.Config));
        Assert.Equal(
            ModelConfigWriter.Create(first.Config),
            ModelConfigWriter.Create(ModelConfigReader.Parse(ModelConfigWriter.Create(first.Config)))
        );
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Quantised_model_computes_as_its_widened_matrices_and_is_read_again(string family)
    {
        foreach (var kind in new[] { QuantizationKind.Nf4, QuantizationKind.Int8 })
        {
            using var scope = NewDisposeScope();
            var path = Locate(family);
            using var origin = CheckpointDirectory.Open(path);
            using var model = Load(path, kind);
            var ids = Ids(model, 2, 30);
            var logits = Logits(model, ids, new FullAttention());
            Assert.All(model.Linears.Where(l => l != model.Head), l => Assert.IsAssignableFrom<QuantizedProjection>(l.Projection));
            QuantizedCheckpoint.Write(_folder[$"{kind}"], model, origin);
            using (var again = Load(_folder[$"{kind}"]))
                Assert.True(SameBits(logits, Logits(again, ids, new FullAttention())), $"{kind}: what was written gives other bits");
            HuggingFaceExporter.Write(_folder[$"{kind}-dense"], model, origin);
            using var dense = Load(_folder[$"{kind}-dense"]);
            Near.AssertRelative(logits, Logits(dense, ids, new FullAttention()), 1e-5, $"{kind}");
        }
    }

    [Fact]
    public void Logits_of_phi3_within_the_original_context_use_the_short_factors()
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("phi3_tiny", "short.safetensors"));
        using var model = Load(SharedMaterial.Golden("phi3_tiny"));
        Near.AssertRelative(golden["logits"], Logits(model, golden["input_ids"], new FullAttention()), 1e-5);
    }

    [Fact]
    public void Tied_model_with_a_stored_copy_of_the_embeddings_is_loaded_as_transformers_does()
    {
        using var scope = NewDisposeScope();
        using var origin = CheckpointDirectory.Open(SharedMaterial.Golden("qwen2_tiny"));
        var names = origin.Tensors.Keys.ToDictionary(n => n, n => origin.Open(n).DetachFromDisposeScope());
        names["lm_head.weight"] = names["model.embed_tokens.weight"].clone().DetachFromDisposeScope();
        using var model = ModelLoader.Load(origin.Config, new GoldenTensors(names));
        Assert.Same(model.Embedding.Weight, ((DenseProjection)model.Head.Projection).Weight);
    }

    [Fact]
    public void Tied_model_with_a_stored_head_of_its_own_uses_it_and_is_saved_untied()
    {
        using var scope = NewDisposeScope();
        var path = SharedMaterial.Golden("qwen2_tiny");
        Tensor head;
        using (var origin = CheckpointDirectory.Open(path))
        {
            List<TensorToWrite> tensors = [.. origin.Tensors.Keys.Select(n => TensorToWrite.Of(n, origin.Open(n)))];
            head = origin.Open("model.embed_tokens.weight") * 1.5;
            tensors.Add(TensorToWrite.Of("lm_head.weight", head));
            Directory.CreateDirectory(_folder["own"]);
            SafetensorsWriter.WriteModel(_folder["own"], tensors);
            File.WriteAllText(Path.Combine(_folder["own"], "config.json"), origin.ConfigText);
        }
        using var tied = Load(path);
        var ids = Ids(tied, 1, 20);
        var logits = Logits(tied, ids, new FullAttention());
        using (var own = Load(_folder["own"]))
        using (var origin = CheckpointDirectory.Open(_folder["own"]))
        {
            Assert.False(own.Config.TiedEmbeddings);
            Near.AssertRelative(logits * 1.5, Logits(own, ids, new FullAttention()), 1e-6);
            HuggingFaceExporter.Write(_folder["saved"], own, origin);
        }
        Assert.False(ModelConfigReader.ReadFile(Path.Combine(_folder["saved"], "config.json")).TiedEmbeddings);
        using var again = Load(_folder["saved"]);
        Near.AssertRelative(logits * 1.5, Logits(again, ids, new FullAttention()), 1e-6);
    }

    [Fact]
    public void Stored_keys_of_a_layer_that_uses_those_of_another_are_not_read()
    {
        using var scope = NewDisposeScope();
        using var origin = CheckpointDirectory.Open(Locate("gemma4"));
        using var plain = ModelLoader.Load(origin.Config, origin);
        List<TensorToWrite> tensors =
        [
            .. origin.Tensors.Keys.Select(n => TensorToWrite.Of(n, origin.Open(n))),
            TensorToWrite.Of("model.layers.5.self_attn.k_proj.weight", ones(48, 48)),
            TensorToWrite.Of("model.layers.5.self_attn.k_norm.weight", ones(24)),
        ];
        Directory.CreateDirectory(_folder["published"]);
        SafetensorsWriter.WriteModel(_folder["published"], tensors);
        File.WriteAllText(Path.Combine(_folder["published"], "config.json"), origin.ConfigText);
        using var model = Load(_folder["published"]);
        var ids = Ids(plain, 1, 20);
        Assert.True(SameBits(Logits(plain, ids, new FullAttention()), Logits(model, ids, new FullAttention())));
    }

    [Theory]
    [InlineData("gemma4")]
    [InlineData("qwen3_5")]
    [InlineData("gpt_oss")]
    public void Rows_of_a_cache_step_together_as_each_alone(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(Locate(family));
        var ids = Ids(model, 2, 30);
        using var positions = RotaryEmbedding.Create(model.Config, 64);
        using var together = new KeyValueCache(model, 40, rows: 2);
        long[] Row(int row, int start, int count) => ids[row].narrow(0, start, count).data<long>().ToArray();
        CachedPass.Read(model, Row(0, 0, 25), together, 0, positions);
        CachedPass.Read(model, Row(1, 0, 9), together, 1, positions);
        var stepped = CachedPass.Step(model, [.. Row(0, 25, 1), .. Row(1, 9, 1)], together, [0, 1], positions);
        for (var row = 0; row < 2; row++)
        {
            using var alone = new KeyValueCache(model, 40);
            var count = row == 0 ? 25 : 9;
            CachedPass.Read(model, Row(row, 0, count), alone, 0, positions);
            Near.AssertRelative(CachedPass.Read(model, Row(row, count, 1), alone, 0, positions)[0], stepped[row], 2e-5, $"row {row}");
        }
    }

    [Theory]
    [InlineData("language_model.model.", "language_model.lm_head.", "vision_tower.patch.weight")]
    [InlineData("model.language_model.", "lm_head.", "model.vision_tower.patch.weight")]
    public void Multimodal_model_is_read_as_its_text_part_and_saved_as_that(string prefix, string head, string other)
    {
        using var scope = NewDisposeScope();
        var path = SharedMaterial.Golden("mistral_tiny");
        using (var origin = CheckpointDirectory.Open(path))
        {
            string Rename(string name) =>
                name.StartsWith("model.", StringComparison.Ordinal) ? prefix + name["model.".Length..] : head + name["lm_head.".Length..];
            List<TensorToWrite> tensors =
            [
                .. origin.Tensors.Keys.Select(n => TensorToWrite.Of(Rename(n), origin.Open(n))),
                TensorToWrite.Of(other, zeros(3, 5)),
            ];
            Directory.CreateDirectory(_folder["whole"]);
            SafetensorsWriter.WriteModel(_folder["whole"], tensors);
            var text = JsonNode.Parse(origin.ConfigText)!.AsObject();
            text.Remove("architectures");
            text.Remove("eos_token_id");
            var whole = new JsonObject
            {
                ["architectures"] = new JsonArray("Mistral3ForConditionalGeneration"),
                ["model_type"] = "mistral3",
                ["eos_token_id"] = 7,
                ["text_config"] = text,
                ["vision_config"] = new JsonObject { ["model_type"] = "pixtral", ["hidden_size"] = 5 },
                ["image_token_index"] = 10,
            };
            File.WriteAllText(Path.Combine(_folder["whole"], "config.json"), whole.ToJsonString());
        }
        using var plain = Load(path);
        var ids = Ids(plain, 1, 30);
        var logits = Logits(plain, ids, new FullAttention());
        using (var model = Load(_folder["whole"]))
        using (var origin = CheckpointDirectory.Open(_folder["whole"]))
        {
            Assert.Equal(("mistral3", (1, 60L)), (origin.TextPartOf, origin.OtherParts));
            Assert.Equal([7], origin.Config.EosTokenIds);
            Assert.True(SameBits(logits, Logits(model, ids, new FullAttention())));
            HuggingFaceExporter.Write(_folder["text"], model, origin);
            Assert.Contains(CheckpointSummary.Read(_folder["whole"]).Facts, f =>
                f.Name == "text part" && f.Value.Contains("of a mistral3 model", StringComparison.Ordinal)
            );
        }
        using var saved = CheckpointDirectory.Open(_folder["text"]);
        Assert.Null(saved.TextPartOf);
        Assert.Equal("mistral", saved.Config.ModelType);
        Assert.Contains("MistralForCausalLM", saved.ConfigText, StringComparison.Ordinal);
        using var again = Load(_folder["text"]);
        Assert.True(SameBits(logits, Logits(again, ids, new FullAttention())));
    }

    // transformers 5 writes rope_parameters, for each kind of layer where there are two.
    [Theory]
    [InlineData("ministral3", "128 tokens, RoPE yarn x4")]
    [InlineData("gemma3_text", "128 tokens, RoPE linear x8")]
    [InlineData("gemma4", "128 tokens, RoPE proportional x1")]
    public void Adapter_tells_the_positions_of_the_family(string family, string expected)
    {
        using var model = Load(Locate(family));
        using (var set = AdapterSet.Attach(model, new AdapterOptions { Rank = 2, TargetModules = ["q_proj"] }, 3))
            PeftFormat.Write(_folder["adapter"], set, model, "base");
        Assert.Equal(expected, CheckpointSummary.Read(_folder["adapter"]).Facts.Single(f => f.Name == "context").Value);
    }

    /// <summary>The rules of S²-Attn and of a sliding window, asked pair by pair.</summary>
    private sealed class DenseMaskAttention(int group, int window = int.MaxValue, double? cap = null, Weight? sinks = null) : IAttention
    {
        public IAttention Within(int tokens) => new DenseMaskAttention(group, tokens, cap, sinks);

        public IAttention WithScoreCap(double value) => new DenseMaskAttention(group, window, value, sinks);

        public IAttention WithSinks(Weight logits) => new DenseMaskAttention(group, window, cap, logits);

        public Tensor Attend(
            Tensor query,
            Tensor key,
            Tensor value,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null
        )
        {
            long count = query.size(1),
                length = query.size(2),
                repeat = count / key.size(1);
            var mask = new float[count * length * length];
            for (var at = 0; at < mask.Length; at++)
            {
                long h = at / (length * length),
                    q = at / length % length,
                    k = at % length,
                    shift = h < count / 2 ? 0 : group / 2;
                var isSeen = k <= q && q - k < window && (length <= group || (q + shift) / group == (k + shift) / group);
                mask[at] = isSeen ? 0 : float.NegativeInfinity;
            }
            var scores = query.matmul(key.repeat_interleave(repeat, 1).transpose(2, 3)) / Math.Sqrt(query.size(3));
            if (cap is { } c)
                scores = (scores / c).tanh() * c;
            scores = scores + tensor(mask, [count, length, length]);
            if (sinks is not null)
                scores = cat([scores, sinks.Value.view(1, -1, 1, 1).expand(query.size(0), -1, length, 1)], -1);
            return scores.softmax(-1).narrow(-1, 0, length).matmul(value.repeat_interleave(repeat, 1));
        }

        public AttentionResult Forward(
            Tensor query,
            Tensor key,
            Tensor value,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null,
            AttentionResult? into = null
        ) => throw new NotSupportedException();

        public (Tensor Query, Tensor Key, Tensor Value) Backward(
            Tensor gradient,
            Tensor query,
            Tensor key,
            Tensor value,
            AttentionResult result,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null,
            (Tensor Query, Tensor Key, Tensor Value)? into = null
        ) => throw new NotSupportedException();

        public bool KeepsLogSumExp(Device device) => throw new NotSupportedException();

        public AttentionPattern MakePattern(int length) => throw new NotSupportedException();
    }
}
