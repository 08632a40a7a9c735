using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Two ranks, each a thread with a model of its own, against one process.</summary>
public class RankTests
{
    private const int Steps = 3,
        Accumulation = 3; // no multiple of the ranks

    private sealed record Outcome(IReadOnlyList<TrainingStep> Log, Tensor Gradients, long TrainedWeights, BatchSamplerState Place);

    // Gradients of the last step: the first moment is nothing else where it forgets at once.
    private static Outcome Train(ICommunicator communicator)
    {
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions(Beta1: 0, Epsilon: 1e-2, MaxGradNorm: 0));
        using var tokens = TokenStore.Build(new Examples(), null);
        var sampler = new BatchSampler(tokens, 24, 1, 5);
        using var pass = new CheckpointedPass(model);
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 0, Steps),
            new ShiftedSparseAttention(8),
            pass,
            new TrainerOptions(Steps, Accumulation, 1e-3, 0)
        )
        {
            Ranks = new TrainingRanks(communicator),
        };
        var log = new Log();
        trainer.Run(sampler, _ => { }, log);
        return new(log.Steps, optimizer.FirstMoment.clone().DetachFromDisposeScope(), parameters.Count, sampler.State);
    }

    [Fact]
    public void Run_two_ranks_learn_together_what_one_process_learns()
    {
        var one = Train(SingleProcess.Instance);
        var two = ThreadCommunicator.Run(2, Train);
        foreach (var rank in two)
        {
            Assert.Equal(one.Log.Select(s => s.Loss), rank.Log.Select(s => s.Loss), Within(1e-5));
            Assert.Equal(one.Log.Select(s => s.GradientNorm), rank.Log.Select(s => s.GradientNorm), Within(1e-4));
            Assert.Equal(one.Log.Select(s => s.Tokens), rank.Log.Select(s => s.Tokens));
            Assert.Equal(one.Place, rank.Place);
            Near.AssertRelative(one.Gradients, rank.Gradients, 1e-4, "gradients of the last step");
        }
        Assert.True(two[0].Gradients.equal(two[1].Gradients).all().item<bool>(), "the ranks part");
    }

    private static Func<double, double, bool> Within(double most) => (a, b) => Math.Abs(a - b) <= most * Math.Abs(a);

    // Half of the tokens of every third document are not learned, so that micro-batches differ in their targets.
    private sealed class Examples : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            Enumerable
                .Range(0, 12)
                .Select(d =>
                {
                    int[] ids = [.. Enumerable.Range(0, 24).Select(i => (d * 7919 + i * i * 31 + i) % 128)];
                    int[] labels = [.. ids.Select((id, i) => d % 3 == 0 && i < 12 ? TrainingExample.IgnoredLabel : id)];
                    return new TrainingExample(ids, labels, $"document {d}");
                });
    }

    private sealed class Log : IProgress<TrainingStep>
    {
        public List<TrainingStep> Steps { get; } = [];

        public void Report(TrainingStep value) => Steps.Add(value);
    }
}
