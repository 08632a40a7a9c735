using LongLora.Distributed;
using LongLora.Options;
using LongLora.Training;

namespace LongLora.Cli.Tests;

/// <summary>Tests of whole runs on ranks that are threads.</summary>
public abstract class ThreadRanksRun : CliRun
{
    private protected const int Steps = 4;

    private protected FineTuneOptions MakeOptions(string output, int parts, bool resume = false, Sharding shard = Sharding.None) =>
        new()
        {
            Model = new() { Path = Stories, Context = 1024 },
            Data = new() { Sources = [At("train.bin")] },
            Method = new() { GroupSize = 128 },
            Optimizer = new()
            {
                Steps = Steps,
                GradientAccumulation = 6,
                LearningRate = 2e-3,
                WarmupSteps = 0,
                Schedule = ScheduleKind.ConstantWithWarmup,
            },
            Machine = new()
            {
                Device = "cpu",
                Shard = shard,
                SequenceParallel = parts,
            },
            Run = new()
            {
                Output = At(output),
                CheckMemory = false,
                SaveEvery = 2,
                Resume = resume,
            },
        };

    private protected static void Train(
        int ranks,
        FineTuneOptions options,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellation = default
    ) =>
        ThreadCommunicator.Run(
            ranks,
            communicator => FineTune.Run(options, communicator, progress, null, null, null, cancellation),
            TimeSpan.FromMinutes(5)
        );
}
