using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Layers;

/// <summary>Models whose matrices are divided among ranks, against whole ones.</summary>
public sealed class DividedMatricesTests : IDisposable
{
    private const int Ranks = 3,
        Length = 40;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Families => FamilyContractTests.Families;

    private static CausalLanguageModel Load(string path, ICommunicator? among, QuantizationKind kind = QuantizationKind.None)
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(folder.Config, folder, null, kind, among);
    }

    // Two passes over a text, and their gradients; or no text.
    private static Tensor? Run(CausalLanguageModel model, AdapterKind kind, int perSegment, int? seed)
    {
        using var scope = NewDisposeScope();
        using var set = AdapterSet.Attach(model, new AdapterOptions { Rank = 2, Kind = kind }, 3);
        using var generator = new Generator(8, CPU);
        foreach (var weight in set.Weights)
            weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.05));
        using var parameters = new ParameterBuffer(set.Weights);
        ProductWeights.HoldFrozen(model);
        using var pass = new CheckpointedPass(model, perSegment);
        for (var i = 0; i < 2; i++)
        {
            if (seed is null)
            {
                pass.Accompany();
                continue;
            }
            using var texts = new Generator((ulong)seed + (ulong)i, CPU);
            var ids = randint(0, model.Config.VocabularySize, [1, Length], ScalarType.Int64, generator: texts);
            using var positions = RotaryEmbedding.Create(model.Config, Length);
            var context = new ForwardContext(
                model.Blocks.Any(b => b.Recurrence is not null) ? new FullAttention() : new ShiftedSparseAttention(16),
                positions
            );
            pass.ForwardBackward(ids, LlamaGoldenTests.Targets(ids), context, 1.0 / Length).Dispose();
        }
        return seed is null ? null : parameters.Gradients.clone().DetachFromDisposeScope();
    }

    // One rank learns a text, another one another text, and the third has none.
    private static void AssertSameBits(
        Func<ICommunicator?, CausalLanguageModel> load,
        AdapterKind kind = AdapterKind.Lora,
        int perSegment = 1
    )
    {
        Tensor Whole(int seed)
        {
            using var model = load(null);
            return Run(model, kind, perSegment, seed)!;
        }
        var expected = new[] { Whole(5), Whole(7) };
        Assert.All(expected, gradients => Assert.True(gradients.abs().max().item<float>() > 0, "nothing is learned"));
        var found = ThreadCommunicator.Run(Ranks, ranks =>
        {
            using var model = load(ranks);
            return Run(
                model,
                kind,
                perSegment,
                ranks.Rank == 1 ? null
                    : ranks.Rank == 0 ? 5
                    : 7
            );
        });
        Assert.True(expected[0].equal(found[0]!).all().item<bool>(), "rank 0 has other bits");
        Assert.True(expected[1].equal(found[2]!).all().item<bool>(), "rank 2 has other bits");
        Assert.Null(found[1]);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Pass_every_family_has_the_same_bits(string family)
    {
        var path = FamilyContractTests.Locate(_folder, family);
        AssertSameBits(ranks => Load(path, ranks));
    }

    // Deep enough that the buffers hold each block several times.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Pass_a_deep_model_has_the_same_bits(int perSegment) =>
        AssertSameBits(
            ranks => ModelLoader.Create(LlamaGoldenTests.TinyConfig with { LayerCount = 7 }, 3, among: ranks),
            perSegment: perSegment
        );

    [Theory]
    [InlineData(QuantizationKind.None, AdapterKind.Dora, 1)]
    [InlineData(QuantizationKind.None, AdapterKind.Pissa, 1)]
    [InlineData(QuantizationKind.None, AdapterKind.Lora, 2)]
    [InlineData(QuantizationKind.Nf4, AdapterKind.Lora, 1)]
    [InlineData(QuantizationKind.Nf4, AdapterKind.Dora, 2)]
    [InlineData(QuantizationKind.Int8, AdapterKind.Pissa, 1)]
    public void Pass_every_form_and_adapter_has_the_same_bits(QuantizationKind quantization, AdapterKind kind, int perSegment)
    {
        var path = FamilyContractTests.Locate(_folder, "llama_tiny");
        AssertSameBits(ranks => Load(path, ranks, quantization), kind, perSegment);
    }

    [Fact]
    public void Pass_matrices_that_are_held_in_bf16_have_the_same_bits()
    {
        var path = FamilyContractTests.Locate(_folder, "llama_tiny");
        AssertSameBits(ranks =>
        {
            var model = Load(path, ranks);
            model.ComputeIn(ComputePrecision.Bf16);
            return model;
        });
    }

    [Theory]
    [InlineData(QuantizationKind.None)]
    [InlineData(QuantizationKind.Nf4)]
    [InlineData(QuantizationKind.Int8)]
    public void Load_each_rank_holds_its_part_only(QuantizationKind kind)
    {
        var path = FamilyContractTests.Locate(_folder, "llama_tiny");
        using var whole = Load(path, null, kind);
        var all = whole.Linears.Where(l => l != whole.Head).Sum(l => l.Projection.Stored.Sum(s => s.ByteCount));
        var tensors = whole.Linears.Sum(l => l.Projection.Stored.Count);
        var own = ThreadCommunicator.Run(Ranks, ranks =>
        {
            using var model = Load(path, ranks, kind);
            Assert.Equal(whole.IsQuantized, model.IsQuantized);
            Assert.All(model.Linears.Where(l => l != model.Head), l => Assert.All(l.Projection.Stored, s => Assert.False(s.IsHere)));
            var layer = model.Linears[0];
            Assert.Contains("divided among ranks", Assert.Throws<InvalidOperationException>(layer.Projection.ToDense).Message);
            using (model.Divided!.Lend(layer.Projection))
            {
                using var lent = layer.Projection.ToDense();
                using var expected = whole.Linears[0].Projection.ToDense();
                Assert.True(expected.equal(lent).all().item<bool>());
            }
            Assert.False(layer.Projection.Stored[0].IsHere);
            return model.Divided.OwnBytes;
        });
        Assert.Equal(all, own.Sum());
        Assert.All(own, bytes => Assert.InRange(bytes, all / Ranks - 8 * tensors, all / Ranks + 8 * tensors));
    }

    [Fact]
    public void Enter_a_block_out_of_order_is_a_fault()
    {
        var path = FamilyContractTests.Locate(_folder, "llama_tiny");
        ThreadCommunicator.Run(2, ranks =>
        {
            using var model = Load(path, ranks);
            model.Divided!.Begin([0, 1]);
            Assert.Throws<InvalidOperationException>(() => model.Divided.Enter(1));
        });
    }

    // TorchSharp counts some tensors of a quantized model twice, so this compares with a model that is whole.
    [Fact]
    public void Dispose_frees_as_much_as_that_of_a_whole_model()
    {
        var path = FamilyContractTests.Locate(_folder, "llama_tiny");
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        long CountLeft(ICommunicator? among)
        {
            var before = 0L;
            for (var i = 0; i < 2; i++)
            {
                before = Live();
                using var model = Load(path, among);
                Run(model, AdapterKind.Dora, 1, 1)!.Dispose();
            }
            return Live() - before;
        }
        Assert.Equal(CountLeft(null), CountLeft(SingleProcess.Instance));
    }
}
