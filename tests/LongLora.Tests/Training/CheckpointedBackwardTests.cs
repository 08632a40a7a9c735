using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class CheckpointedBackwardTests
{
    private static Tensor Ids(int rows, int length, int seed = 1)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randint(0, 128, [rows, length], ScalarType.Int64, generator: generator);
    }

    // Whole graph, whole logits, PyTorch's own cross-entropy.
    private static (double Loss, Tensor Gradients) Plain(CausalLanguageModel model, ParameterBuffer parameters, Tensor ids, ForwardContext context)
    {
        parameters.ClearGradients();
        var logits = model.Logits(ids, context);
        var loss = nn.functional.cross_entropy(logits.view(-1, logits.size(2)), LlamaGoldenTests.Targets(ids), ignore_index: -100);
        loss.backward();
        // A tied or looked-up weight collects gradients through autograd here.
        return (loss.item<float>(), parameters.Gradients.clone());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Run_any_segment_length_equals_plain_pass(bool everything)
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = everything }, 3);
        foreach (var weight in set.Weights.Where(w => w.Name.EndsWith("lora_B.weight", StringComparison.Ordinal)))
            weight.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        var ids = Ids(2, 50);
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        var (plainLoss, plainGradients) = Plain(model, parameters, ids, context);

        Tensor? kept = null;
        foreach (var blocks in new[] { 0, 1, 2, 5 })
        {
            parameters.ClearGradients();
            var loss = new CheckpointedBackward(model, blocks).Run(ids, LlamaGoldenTests.Targets(ids), context, 1.0 / 98).item<double>() / 98;
            Assert.Equal(plainLoss, loss, 1e-6);
            Near.AssertRelative(plainGradients, parameters.Gradients, 1e-5, $"{blocks} blocks a segment");
            kept ??= parameters.Gradients.clone();
            Assert.True(kept.equal(parameters.Gradients).all().item<bool>(), $"recomputing {blocks} blocks a segment changes bits");
        }
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
        var pass = new CheckpointedBackward(model);
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        using var ids = Ids(2, 50);
        using var targets = LlamaGoldenTests.Targets(ids);
        void Step()
        {
            pass.Run(ids, targets, context, 1.0 / 98).Dispose();
            optimizer.Step(1e-3, parameters.GradientNorm());
        }
        Step();
        var before = Live();
        for (var i = 0; i < 50; i++)
            Step();
        Assert.Equal(before, Live());
    }
}
