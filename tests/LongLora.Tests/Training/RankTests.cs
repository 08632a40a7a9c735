using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tests.Distributed;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Several ranks, each a thread with a model of its own, against one process.</summary>
public class RankTests
{
    private const int Steps = 3,
        Accumulation = 6;

    private sealed record Outcome(
        IReadOnlyList<TrainingStep> Log,
        Tensor Gradients,
        Tensor Weights,
        BatchSamplerState Place,
        IReadOnlyList<long> Saved,
        Exception? Error
    );

    // Gradients of the last step: the first moment is nothing else where it forgets at once.
    private static Outcome Train(
        ICommunicator communicator,
        bool isExact = true,
        double weight = 0,
        Func<int, CancellationToken>? cancel = null,
        Sharding shard = Sharding.None,
        int? layers = null
    )
    {
        var among = shard == Sharding.Model ? communicator : null;
        using var model = layers is { } count
            ? ModelLoader.Create(LlamaGoldenTests.TinyConfig with { LayerCount = count }, 1, among: among)
            : LlamaGoldenTests.LoadTiny(among);
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using var parameters = new ParameterBuffer(set.Weights);
        var shards = shard == Sharding.None ? null : new OptimizerShards(communicator, parameters.Count);
        using var optimizer = new AdamW(parameters, new AdamWOptions(Beta1: 0, Epsilon: 1e-2, MaxGradNorm: 0.5), shards);
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
            IsExact = isExact,
        };
        if (weight != 0 && communicator.Rank == 1)
            parameters.Values.detach().fill_(Scalars.Of(weight)); // on one rank only
        var log = new Log();
        var saved = new List<long>();
        var error = Record.Exception(() =>
            trainer.Run(sampler, state => saved.Add(state.Step), log, cancel?.Invoke(communicator.Rank) ?? default)
        );
        return new(
            log.Steps,
            Whole(optimizer.FirstMoment, shards).DetachFromDisposeScope(),
            parameters.Values.detach().clone().DetachFromDisposeScope(),
            sampler.State,
            saved,
            error
        );
    }

    private static Tensor Whole(Tensor part, OptimizerShards? shards)
    {
        if (shards is null)
            return part.clone();
        var whole = zeros(shards.Borders[^1]);
        shards.Own(whole).copy_(part);
        shards.Ranks.AllGather(whole, shards.Borders).Wait();
        return whole;
    }

    [Theory]
    [InlineData(2, Sharding.None)]
    [InlineData(3, Sharding.None)]
    [InlineData(4, Sharding.None)] // does not divide the micro-batches
    [InlineData(6, Sharding.None)]
    [InlineData(1, Sharding.Optimizer)]
    [InlineData(2, Sharding.Optimizer)]
    [InlineData(3, Sharding.Optimizer)]
    [InlineData(4, Sharding.Optimizer)]
    [InlineData(6, Sharding.Optimizer)]
    [InlineData(1, Sharding.Model)]
    [InlineData(3, Sharding.Model)]
    [InlineData(4, Sharding.Model)]
    [InlineData(6, Sharding.Model)]
    public void Run_any_number_of_ranks_gives_the_bits_of_one_process(int ranks, Sharding shard)
    {
        var one = Train(SingleProcess.Instance);
        Assert.Null(one.Error);
        Assert.Contains(one.Log, s => s.GradientNorm > 0.5); // some gradients are scaled
        foreach (var rank in ThreadCommunicator.Run(ranks, c => Train(c, shard: shard)))
        {
            Assert.Null(rank.Error);
            Assert.Equal(one.Log.Select(s => s.Loss), rank.Log.Select(s => s.Loss));
            Assert.Equal(one.Log.Select(s => s.GradientNorm), rank.Log.Select(s => s.GradientNorm));
            Assert.Equal(one.Log.Select(s => s.Tokens), rank.Log.Select(s => s.Tokens));
            Assert.Equal(one.Place, rank.Place);
            AssertSame(one.Gradients, rank.Gradients, "gradients of the last step");
            AssertSame(one.Weights, rank.Weights, "weights");
        }
    }

    // Operations that are carried out only when they are waited for: a wait that is missing somewhere would be seen.
    [Theory]
    [InlineData(2, Sharding.None)]
    [InlineData(3, Sharding.Optimizer)]
    [InlineData(4, Sharding.Model)]
    public void Run_over_queues_of_operations_gives_the_bits_of_one_process(int ranks, Sharding shard)
    {
        var one = Train(SingleProcess.Instance, layers: 5);
        var many = ThreadCommunicator.Run(ranks, host =>
        {
            using var communicator = StandInNccl.Open(host);
            return Train(communicator, shard: shard, layers: 5);
        });
        foreach (var rank in many)
        {
            Assert.Null(rank.Error);
            Assert.Equal(one.Log.Select(s => s.GradientNorm), rank.Log.Select(s => s.GradientNorm));
            AssertSame(one.Gradients, rank.Gradients, "gradients of the last step");
            AssertSame(one.Weights, rank.Weights, "weights");
        }
    }

    [Theory]
    [InlineData(Sharding.None)]
    [InlineData(Sharding.Optimizer)]
    [InlineData(Sharding.Model)]
    public void Run_sums_in_fp32_are_near_the_exact_ones(Sharding shard)
    {
        var exact = Train(SingleProcess.Instance);
        foreach (var rank in ThreadCommunicator.Run(2, c => Train(c, isExact: false, shard: shard)))
        {
            Assert.Equal(exact.Log.Select(s => s.Loss), rank.Log.Select(s => s.Loss), Within(1e-5));
            Assert.Equal(exact.Log.Select(s => s.GradientNorm), rank.Log.Select(s => s.GradientNorm), Within(1e-4));
            Near.AssertRelative(exact.Gradients, rank.Gradients, 1e-4, "gradients of the last step");
        }
    }

    [Theory]
    [InlineData(Sharding.None)]
    [InlineData(Sharding.Optimizer)]
    [InlineData(Sharding.Model)]
    public void Run_a_canceled_rank_stops_all_of_them_after_the_same_step(Sharding shard)
    {
        using var source = new CancellationTokenSource();
        source.Cancel();
        var ranks = ThreadCommunicator.Run(3, c => Train(c, cancel: rank => rank == 2 ? source.Token : default, shard: shard));
        foreach (var rank in ranks)
        {
            Assert.IsAssignableFrom<OperationCanceledException>(rank.Error);
            Assert.Equal([0L], rank.Saved);
            Assert.Equal(default, rank.Place);
        }
    }

    [Theory]
    [InlineData(Sharding.None)]
    [InlineData(Sharding.Optimizer)]
    [InlineData(Sharding.Model)]
    public void Run_a_rank_that_diverges_stops_all_of_them_with_one_reason(Sharding shard)
    {
        var ranks = ThreadCommunicator.Run(2, c => Train(c, weight: double.NaN, shard: shard));
        foreach (var rank in ranks)
        {
            var error = Assert.IsType<DataException>(rank.Error);
            Assert.StartsWith("Training diverged at step 1: the loss is NaN.", error.Message, StringComparison.Ordinal);
        }
    }

    private static void AssertSame(Tensor expected, Tensor actual, string what) =>
        Assert.True(expected.equal(actual).all().item<bool>(), $"the {what} differ in some bits");

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
