using System.Security.Cryptography;
using LongLora.Runtime;
using LongLora.Tests.Distributed;
using LongLora.Training;

namespace LongLora.Cli.Tests;

/// <summary>Whole runs on ranks that share each text, against one rank.</summary>
public class SequenceParallelTests : ThreadRanksRun
{
    private string Hash(string output) =>
        Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"))));

    [Fact]
    public void Run_has_the_losses_of_one_rank_and_the_bits_of_any_number_of_texts_at_once()
    {
        WriteTokens("train.bin", 40_000);
        FineTune.Run(MakeOptions("one", 1));
        foreach (var ranks in new[] { 2, 4, 6 })
        {
            Train(ranks, MakeOptions($"of{ranks}", 2));
            Assert.Equal(Hash("of2"), Hash($"of{ranks}"));
        }
        Train(4, MakeOptions("quarters", 4));
        var expected = MetricsLog.Read(At("one")).Select(s => s.Loss).ToList();
        Assert.Equal(Steps, expected.Count);
        foreach (var run in new[] { "of2", "of6", "quarters" })
        {
            Assert.Equal(expected, MetricsLog.Read(At(run)).Select(s => s.Loss), (a, b) => Math.Abs(a - b) <= 1e-4);
            Assert.Equal(MetricsLog.Read(At("one")).Select(s => s.Tokens), MetricsLog.Read(At(run)).Select(s => s.Tokens));
        }

        // Begun in halves, ended in quarters.
        using var source = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => Train(2, MakeOptions("changed", 2), new StopAfter(2, source), source.Token));
        Train(4, MakeOptions("changed", 4, resume: true));
        Assert.Equal(expected, MetricsLog.Read(At("changed")).Select(s => s.Loss), (a, b) => Math.Abs(a - b) <= 1e-4);
    }

    [Fact]
    public void Train_under_both_launchers_writes_the_same_bytes()
    {
        MpiJob.Require("mpirun.openmpi");
        MpiJob.Require("mpirun.mpich");
        WriteTokens("train.bin", 40_000);
        foreach (var (launcher, ranks) in new[] { ("mpirun.openmpi", 2), ("mpirun.mpich", 4) })
        {
            string[] command =
            [
                "dotnet",
                Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.dll"),
                "train",
                "--model",
                Stories,
                "--data",
                At("train.bin"),
                "--context",
                "1024",
                "--group-size",
                "128",
                "--steps",
                "2",
                "--gradient-accumulation",
                "2",
                "--device",
                "cpu",
                "--sequence-parallel",
                "2",
                "--output",
                At($"of{ranks}"),
            ];
            var job = MpiJob.Run(launcher, ranks, command);
            Assert.True(job.Code == ExitCode.Done, job.ToString());
        }
        Assert.Equal(Hash("of2"), Hash("of4"));
    }

    private sealed class StopAfter(int steps, CancellationTokenSource source) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value)
        {
            if (value.Step == steps)
                source.Cancel();
        }
    }

    [Theory]
    [InlineData(2, 1, "the number of ranks is 1, which is no multiple of it. Start 2 ranks")]
    [InlineData(3, 4, "the number of ranks is 4, which is no multiple of it. Start 6 ranks")]
    [InlineData(17, 17, "sequence-parallel is 17, but a text of 1,024 tokens with attention groups of 128 can be divided among 16 ranks")]
    public void Run_with_ranks_that_cannot_divide_a_text_is_refused(int parts, int ranks, string expected)
    {
        WriteTokens("train.bin", 40_000);
        var error = Assert.Throws<ConfigurationException>(() => Train(ranks, MakeOptions("run", parts)));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("run")));
    }
}
