using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class CheckpointedPassTests
{
    private static Tensor Ids(int rows, int length, int seed = 1)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randint(0, 128, [rows, length], ScalarType.Int64, generator: generator);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void Run_any_span_length_and_store_equals_plain_pass(bool everything, bool documents)
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = everything }, 3);
        foreach (var weight in set.Weights.Where(w => w.Name.EndsWith("lora_B.weight", StringComparison.Ordinal)))
            weight.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        var ids = Ids(2, 50);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(
            new ShiftedSparseAttention(16),
            positions,
            documents
                ?
                [
                    [20, 30],
                    [50],
                ]
                : null
        );
        var plainLoss = PlainPass.Loss(model, ids, targets, context);
        plainLoss.backward();
        var plain = parameters.Gradients.clone();

        Tensor? first = null;
        foreach (
            var (blocks, offload) in new[]
            {
                (1, ActivationOffload.None),
                (2, ActivationOffload.None),
                (5, ActivationOffload.None),
                (1, ActivationOffload.Disk),
                (2, ActivationOffload.Disk),
                (1, ActivationOffload.Auto),
            }
        )
        {
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model, blocks, offload);
            var loss = pass.ForwardBackward(ids, targets, context, 1.0 / 98).item<double>() / 98;
            Assert.Equal(plainLoss.item<float>(), loss, 1e-6);
            Near.AssertRelative(plain, parameters.Gradients, 1e-5, $"{blocks} blocks a span, {offload}");
            first ??= parameters.Gradients.clone();
            Assert.True(first.equal(parameters.Gradients).all().item<bool>(), $"{blocks} blocks a span, kept {offload}, changes bits");
        }
    }

    // Long enough for several tiles of the MLP, several passes over the heads and several chunks of logits.
    [Theory]
    [InlineData(8, 8)]
    [InlineData(8, 4)]
    [InlineData(6, 3)]
    public void Run_in_many_pieces_equals_plain_pass(int heads, int sharedHeads)
    {
        const int length = 8300;
        using var scope = NewDisposeScope();
        var config = LlamaGoldenTests.TinyConfig with
        {
            HiddenSize = 128,
            HeadSize = 64,
            HeadCount = heads,
            KeyValueHeadCount = sharedHeads,
            IntermediateSize = 1024,
            VocabularySize = 3000,
            MaxPositions = length,
        };
        Assert.True(BlockPass.CountTileRows(config.IntermediateSize, onGpu: false) < length / 2);
        Assert.True(BlockPass.CountGroupsAtOnce(length, heads * 64, sharedHeads, onGpu: false) < sharedHeads);
        using var model = ModelLoader.Create(config, 1);
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        foreach (var weight in set.Weights.Where(w => w.Name.EndsWith("lora_B.weight", StringComparison.Ordinal)))
            weight.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        using var generator = new Generator(4, CPU);
        var ids = randint(0, 3000, [1, length], ScalarType.Int64, generator: generator);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(config, length);
        var context = new ForwardContext(new ShiftedSparseAttention(256), positions);
        using (var inner = NewDisposeScope())
        {
            var loss = PlainPass.Loss(model, ids, targets, context);
            loss.backward();
        }
        var plain = parameters.Gradients.clone();
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model);
        pass.ForwardBackward(ids, targets, context, 1.0 / (length - 1));
        Near.AssertRelative(plain, parameters.Gradients, 1e-5);
    }

    [Fact]
    public void Run_many_steps_leave_no_tensors_behind()
    {
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions());
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        using var pass = new CheckpointedPass(model);
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        using var ids = Ids(2, 50);
        using var targets = LlamaGoldenTests.Targets(ids);
        void Step()
        {
            pass.ForwardBackward(ids, targets, context, 1.0 / 98).Dispose();
            optimizer.Step(1e-3, parameters.ComputeGradientNorm());
        }
        Step();
        var before = Live();
        for (var i = 0; i < 50; i++)
            Step();
        Assert.Equal(before, Live());
    }
}
