using LongLora.Adapters;
using LongLora.Options;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Cli.Tests;

/// <summary>Whole runs whose optimizer, or whose frozen matrices too, are divided among ranks, against one process.</summary>
public class ShardTests : ThreadRanksRun
{
    private FineTuneOptions MakeOptions(string output, Sharding shard, bool resume = false, int parts = 1) =>
        MakeOptions(output, parts, resume, shard);

    private byte[] Adapter(string output) => File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"));

    private byte[] State(string output) => File.ReadAllBytes(At(output, "checkpoints", $"step-{Steps:D6}", "training_state.safetensors"));

    [Theory]
    [InlineData(Sharding.Optimizer)]
    [InlineData(Sharding.Model)]
    public void Run_any_number_of_ranks_writes_the_bytes_of_one(Sharding shard)
    {
        WriteTokens("train.bin", 40_000);
        FineTune.Run(MakeOptions("one", Sharding.None));
        foreach (var ranks in new[] { 1, 2, 3, 4, 6 })
        {
            Train(ranks, MakeOptions($"of{ranks}", shard));
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
    [InlineData(3, Sharding.Model, 4, Sharding.Model)]
    [InlineData(4, Sharding.Model, 1, Sharding.None)]
    [InlineData(2, Sharding.Optimizer, 3, Sharding.Model)]
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

    // Each way of computing with the matrices, and ranks without a text in the last round.
    [Theory]
    [InlineData(4, QuantizationKind.Nf4, 1, ActivationOffload.Auto, AdapterKind.Lora)]
    [InlineData(3, QuantizationKind.Int8, 2, ActivationOffload.None, AdapterKind.Lora)]
    [InlineData(4, QuantizationKind.None, 2, ActivationOffload.Disk, AdapterKind.Lora)]
    [InlineData(2, QuantizationKind.Nf4, 1, ActivationOffload.Disk, AdapterKind.Dora)]
    [InlineData(2, QuantizationKind.None, 5, ActivationOffload.Auto, AdapterKind.Pissa)]
    public void Run_every_form_of_a_divided_model_writes_the_bytes_of_one(
        int ranks,
        QuantizationKind quantization,
        int blocks,
        ActivationOffload offload,
        AdapterKind adapter
    )
    {
        WriteTokens("train.bin", 40_000);
        FineTuneOptions Change(FineTuneOptions options) =>
            options with
            {
                Model = options.Model with { Context = 512 },
                Method = options.Method with { AdapterKind = adapter },
                Machine = options.Machine with { Quantization = quantization, BlocksPerSegment = blocks, ActivationOffload = offload },
            };
        FineTune.Run(Change(MakeOptions("one", Sharding.None)));
        Train(ranks, Change(MakeOptions("many", Sharding.Model)));
        Assert.Equal(Adapter("one"), Adapter("many"));
        Assert.Equal(State("one"), State("many"));
    }

    [Theory]
    [InlineData(TuningMethod.Full, QuantizationKind.None, "tuning is full")]
    [InlineData(TuningMethod.LoraPlus, QuantizationKind.Keep, "quantization is keep")]
    public void Run_what_cannot_be_divided_is_refused(TuningMethod tuning, QuantizationKind quantization, string message)
    {
        var options = MakeOptions("run", Sharding.Model);
        options = options with
        {
            Method = options.Method with { Tuning = tuning },
            Machine = options.Machine with { Quantization = quantization },
        };
        var error = Assert.Throws<ConfigurationException>(() => FineTune.Run(options));
        Assert.Contains("shard is model, but " + message, error.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("run")));
    }

    [Theory]
    [InlineData(Sharding.Optimizer)]
    [InlineData(Sharding.Model)]
    public void Run_of_divided_texts_has_the_same_bytes_with_divided_weights(Sharding shard)
    {
        WriteTokens("train.bin", 40_000);
        Train(4, MakeOptions("whole", Sharding.None, parts: 2));
        Train(4, MakeOptions("divided", shard, parts: 2));
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
