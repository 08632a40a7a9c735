using LongLora.Options;
using LongLora.Training;

namespace LongLora.Cli.Tests;

/// <summary>Whole runs whose optimizer is divided among ranks, against one process.</summary>
public class ShardTests : ThreadRanksRun
{
    private FineTuneOptions MakeOptions(string output, Sharding shard, bool resume = false, int parts = 1) =>
        MakeOptions(output, parts, resume, shard);

    private byte[] Adapter(string output) => File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"));

    private byte[] State(string output) => File.ReadAllBytes(At(output, "checkpoints", $"step-{Steps:D6}", "training_state.safetensors"));

    [Fact]
    public void Run_any_number_of_ranks_writes_the_bytes_of_one()
    {
        WriteTokens("train.bin", 40_000);
        FineTune.Run(MakeOptions("one", Sharding.None));
        foreach (var ranks in new[] { 1, 2, 3, 4, 6 })
        {
            Train(ranks, MakeOptions($"of{ranks}", Sharding.Optimizer));
            Assert.Equal(Adapter("one"), Adapter($"of{ranks}"));
            Assert.Equal(State("one"), State($"of{ranks}"));
            Assert.Equal(
                MetricsLog.Read(At("one")).Select(s => s.GradientNorm),
                MetricsLog.Read(At($"of{ranks}")).Select(s => s.GradientNorm)
            );
        }
    }

    [Theory]
    [InlineData(3, Sharding.Optimizer, 2, Sharding.Optimizer)]
    [InlineData(3, Sharding.Optimizer, 1, Sharding.None)]
    [InlineData(2, Sharding.None, 4, Sharding.Optimizer)]
    public void Run_is_resumed_on_other_ranks_with_the_same_bytes(int first, Sharding before, int second, Sharding after)
    {
        WriteTokens("train.bin", 40_000);
        FineTune.Run(MakeOptions("one", Sharding.None));
        using var source = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() =>
            Train(first, MakeOptions("run", before), new StopAfter(2, source), source.Token)
        );
        Train(second, MakeOptions("run", after, resume: true));
        Assert.Equal(Adapter("one"), Adapter("run"));
        Assert.Equal(State("one"), State("run"));
    }

    [Fact]
    public void Run_of_divided_texts_has_the_same_bytes_with_a_divided_optimizer()
    {
        WriteTokens("train.bin", 40_000);
        Train(4, MakeOptions("whole", Sharding.None, parts: 2));
        Train(4, MakeOptions("divided", Sharding.Optimizer, parts: 2));
        Assert.Equal(Adapter("whole"), Adapter("divided"));
    }

    private sealed class StopAfter(int steps, CancellationTokenSource source) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value)
        {
            if (value.Step == steps)
                source.Cancel();
        }
    }
}
