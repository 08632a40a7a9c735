using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
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
/// What every family must do, each a tiny model folder with what an independent implementation computes from it (Goldens/README.md). A
/// new family is one more folder in the list.
/// </summary>
public sealed class FamilyContractTests : IDisposable
{
    private const int Group = 16;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Families { get; } =
    ["llama_tiny", "mistral_tiny", "qwen2_tiny", "qwen3_tiny", "phi3_tiny", "neox_tiny", "neox_serial_tiny"];

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
    [MemberData(nameof(Families))]
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
        using var model = Load(SharedMaterial.Golden(family));
        var ids = Ids(model, 1, 44);
        foreach (var attention in new IAttention[] { new FullAttention(), new ShiftedSparseAttention(Group) })
        {
            var before = Logits(model, ids, attention);
            foreach (var t in new[] { 1, 8, 16, 29, 43 })
            {
                var changed = ids.clone();
                changed[0, t] = (ids[0, t] + 1).remainder(model.Config.VocabularySize);
                var difference = (Logits(model, changed, attention) - before).abs().amax([0, 2]);
                Assert.Equal(0f, difference.narrow(0, 0, t).max().item<float>());
                Assert.NotEqual(0f, difference[t].item<float>());
            }
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_under_sparse_attention_and_window_equal_a_dense_mask(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(SharedMaterial.Golden(family));
        foreach (var length in new[] { 44, 9 })
        {
            var ids = Ids(model, 2, length);
            using var positions = RotaryEmbedding.Create(model.Config, length);
            using var noGradient = no_grad();
            var expected = PlainPass.Logits(model, ids, new ForwardContext(new DenseMaskAttention(Group), positions));
            Near.AssertRelative(expected, Logits(model, ids, new ShiftedSparseAttention(Group)), 1e-5);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_with_a_cache_equal_those_without(string family)
    {
        using var scope = NewDisposeScope();
        using var model = Load(SharedMaterial.Golden(family));
        var ids = Ids(model, 1, 44);
        using var positions = RotaryEmbedding.Create(model.Config, 44);
        using var cache = new KeyValueCache(model, 44);
        var parts = new List<Tensor>();
        foreach (var count in new[] { 17, 1, 13, 1, 1, 11 })
            parts.Add(CachedPass.Read(model, ids.narrow(1, cache.GetLength(0), count).data<long>().ToArray(), cache, 0, positions));
        using var noGradient = no_grad();
        Near.AssertRelative(Logits(model, ids, new FullAttention())[0], model.Head.Forward(cat(parts, 0)), 1e-5);
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
            using var model = Load(SharedMaterial.Golden(family));
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
                    Near.AssertRelative(expected, weight.GetGradient(), 2e-5, weight.Name);
            }
        }
    }

    // Long enough for several passes over the heads, several tiles of the MLP and many windows.
    [Theory]
    [InlineData("phi3")]
    [InlineData("qwen3")]
    [InlineData("gpt_neox")]
    public void Lean_pass_in_many_pieces_has_the_gradients_of_plain_autograd(string type)
    {
        const int length = 8300,
            heads = 8,
            size = 32;
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(
            new ModelConfig
            {
                ModelType = type,
                HiddenSize = type == "gpt_neox" ? heads * size : size,
                IntermediateSize = 1024,
                LayerCount = 1,
                HeadCount = heads,
                KeyValueHeadCount = type == "gpt_neox" ? heads : 4,
                HeadSize = size,
                RotarySize = type == "qwen3" ? size : size / 4,
                VocabularySize = 100,
                MaxPositions = length,
                AttentionBias = type == "gpt_neox",
                ParallelResidual = true,
                Activation = type == "gpt_neox" ? "gelu" : "silu",
                SlidingWindow = type == "gpt_neox" ? null : 100,
            },
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
    public void Adapter_begins_at_the_base_and_is_the_same_after_saving_and_merging(string family)
    {
        using var scope = NewDisposeScope();
        var path = SharedMaterial.Golden(family);
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
        Near.AssertRelative(attached, Logits(merged, ids, new FullAttention()), 1e-5, "merged");
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Saved_model_has_the_same_files(string family)
    {
        var path = SharedMaterial.Golden(family);
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
            var path = SharedMaterial.Golden(family);
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

    /// <summary>The rules of S²-Attn and of a sliding window, asked pair by pair.</summary>
    private sealed class DenseMaskAttention(int group, int window = int.MaxValue) : IAttention
    {
        public IAttention Within(int tokens) => new DenseMaskAttention(group, tokens);

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
            var scores =
                query.matmul(key.repeat_interleave(repeat, 1).transpose(2, 3)) / Math.Sqrt(query.size(3))
                + tensor(mask, [count, length, length]);
            return scores.softmax(-1).matmul(value.repeat_interleave(repeat, 1));
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
