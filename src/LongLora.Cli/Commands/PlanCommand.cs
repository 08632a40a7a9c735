using System.CommandLine;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Configs;
using LongLora.Options;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Studies;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora plan</c>: the memory and time of a run before it starts.</summary>
internal static class PlanCommand
{
    // A step's share of the rate of a square product on the CPU: docs/results/step-benchmark.md.
    private const double ShareOfProducts = 0.65;

    internal static Command Create(CliContext context)
    {
        var memory = new MemoryOption("--memory", "device memory, such as 80GiB; GiB without a unit [default: that of this machine]");
        var host = new MemoryOption(
            "--host-memory",
            "with --device cuda: memory of the host, such as 64GiB, for activations that are kept there [default: that of this machine]"
        );
        var rate = new Option<double?>("--rate")
        {
            Description = "compute rate in useful GFLOP/s [default: measured on the CPU]",
            HelpName = "GFLOPS",
        };
        var ranks = new Option<int?>("--ranks")
        {
            Description = "processes of the job, as mpirun starts them; a multiple of --sequence-parallel [default: --sequence-parallel]",
            HelpName = "N",
        };
        var link = new Option<double?>("--link")
        {
            Description = "rate at which a rank sends and receives, in Gbit/s, such as 400",
            HelpName = "GBITS",
        };
        var json = new JsonOption("the plan");
        var command = new Verb(
            "plan",
            "Estimate the memory and the time that a training run needs. The model is a folder, or one of "
                + $"{string.Join(", ", PublishedConfigs.Names)}.",
            "longlora plan --model llama-2-7b --context 100000 --device cuda --memory 80"
        )
        {
            memory,
            host,
            rate,
            ranks,
            link,
            json,
        };
        // The parts that TrainingPlan needs; data and output are not among them.
        var read = TrainCommand.AddOptions(command, FineTuneOptionTable.All.Where(o => o.Part is not (OptionPart.Data or OptionPart.Run)));
        command.SetAction(parsed =>
        {
            var options = read(parsed);
            OptionProblems.ThrowIfAny(
                problems => problems.Require(parsed.GetValue(rate) is null or > 0, $"rate is {parsed.GetValue(rate)}; it must be above 0"),
                options.Model.Check,
                problems => options.Method.Check(problems, options.Model),
                options.Optimizer.Check,
                problems => options.Machine.Check(problems, options.Method),
                problems => options.Machine.CheckParts(problems, options.Method, options.Model.Context),
                // A recipe may say how its data is read, which costs nothing.
                problems => IdleOptions.Check(problems, options with { Data = FineTuneOptionTable.Defaults.Data })
            );
            var count = RankCosts.Count(options, parsed.GetValue(ranks));
            var plan = TrainingPlan.Make(
                options.Model,
                options.Method,
                options.Machine,
                options.Optimizer,
                memory.Read(parsed),
                host.Read(parsed),
                count
            );
            if (!plan.OnCuda && parsed.GetValue(host) is not null)
                throw new ConfigurationException(
                    "--host-memory applies only with --device cuda. Remove it, or give the memory of the machine with --memory."
                );
            var job = RankCosts.Make(options, plan, count, parsed.GetValue(link));
            var speed = parsed.GetValue(rate) * 1e9 ?? (plan.OnCuda ? null : ShareOfProducts * GemmRate.MeasureSquare());
            Show(context, options, plan, job, speed, measured: parsed.GetValue(rate) is null);
            json.Write(parsed, context, () => ToJson(plan, job, speed));
            return ExitCode.Done;
        });
        return command;
    }

    private static void Show(CliContext context, FineTuneOptions options, TrainingPlan plan, RankCosts job, double? rate, bool measured)
    {
        var table = new Table()
            .Border(TableBorder.Simple)
            .AddColumn(job.Ranks > 1 ? "peak memory of a rank" : "peak memory")
            .AddColumn(new TableColumn("").RightAligned())
            .AddColumn(new TableColumn("per token").RightAligned());
        var perToken = new HashSet<string>(["activation checkpoints", "kept activations", "hidden states", "attention"]);
        foreach (var (name, bytes) in plan.Memory.Parts)
        {
            var tokens = plan.Division?.LongestPart ?? (double)options.Optimizer.BatchSize * options.Model.Context;
            table.AddRow(name, TrainingPlan.FormatSize(bytes), perToken.Contains(name) ? $"{bytes / tokens / 1024:N1} KiB" : "");
        }
        table.AddEmptyRow().AddRow("[bold]together[/]", $"[bold]{TrainingPlan.FormatSize(plan.Memory.Peak)}[/]", "");
        context.Console.Write(table);
        if (plan.ComputeType == TorchSharp.torch.ScalarType.BFloat16)
            context.Output.WriteLine("Activations and products are in bf16.");
        if (plan.Memory.Offloaded > 0)
            context.Output.WriteLine(
                $"Activations are kept {(plan.Offload == ActivationOffload.Disk ? "on disk" : "in the host's memory")}: "
                    + $"{TrainingPlan.FormatSize(plan.Memory.Offloaded)}."
            );
        context.Output.WriteLine(
            plan.Available is not { } available
                ? "Give the device memory with --memory to see whether this fits."
                : $"{(plan.FitsDevice ? "Fits" : "Does not fit")} into {TrainingPlan.FormatSize(available)}{DescribeHost(plan)}; the "
                    + $"longest context that fits is {plan.LargestContext:N0} tokens."
        );
        if (plan.Warning is { } warning)
            context.Output.WriteLine(warning);
        ShowTime(context, options, plan, job, rate, measured);
        job.Show(context, rate);
    }

    private static string DescribeHost(TrainingPlan plan) =>
        plan.HostAvailable is not { } host || plan.Memory.Offloaded == 0 ? ""
        : plan.FitsHost == plan.FitsDevice ? $" of the device and {TrainingPlan.FormatSize(host)} of the host"
        : $" of the device, but {(plan.FitsHost ? "" : "not ")}into {TrainingPlan.FormatSize(host)} of the host";

    private static void ShowTime(CliContext context, FineTuneOptions options, TrainingPlan plan, RankCosts job, double? rate, bool measured)
    {
        var passes = (double)options.Optimizer.GradientAccumulation;
        var twice = plan.Step.Recomputed / (plan.Step.Needed + plan.Step.Recomputed);
        context.Output.WriteLine(
            $"{100 * twice:N0} % of a step's operations are recomputed to save memory (--activation-memory "
                + $"{(options.Machine.ActivationMemory is null ? "auto: " : "")}{TrainingPlan.FormatSize(plan.ActivationMemory)})."
        );
        context.Output.WriteLine(
            $"An optimizer step of {options.Optimizer.GradientAccumulation} x {options.Optimizer.BatchSize} sequences needs "
                + $"{plan.Step.Needed * passes / 1e12:N2} TFLOP; with full attention {plan.FullStep.Needed * passes / 1e12:N2}."
        );
        if (rate is not { } perSecond)
        {
            context.Output.WriteLine("Give the compute rate with --rate to see how long it takes.");
            return;
        }
        double Seconds(StepFlops step) => job.GetLongestShare(step.Needed) / perSecond;
        string Time(StepFlops step) => TimeText(Seconds(step));
        context.Output.WriteLine(
            $"At {perSecond / 1e9:N0} GFLOP/s{(job.Ranks > 1 ? " a rank" : "")} "
                + $"({(measured ? "65 % of this machine's matrix-product rate" : "as given")}) it takes "
                + $"{Time(plan.Step)}, with full attention {Time(plan.FullStep)}; {options.Optimizer.Steps:N0} steps take "
                + $"{TimeText(Seconds(plan.Step) * options.Optimizer.Steps)}."
        );
    }

    internal static string TimeText(double seconds) =>
        seconds switch
        {
            < 1 => $"{seconds:N2} s",
            < 120 => $"{seconds:N1} s",
            < 7200 => $"{seconds / 60:N0} min",
            < 48 * 3600 => $"{seconds / 3600:N1} h",
            < 100 * 86400 => $"{seconds / 86400:N1} days",
            _ => $"{seconds / 86400:N0} days",
        };

    private static string ToJson(TrainingPlan plan, RankCosts job, double? rate) =>
        JsonSerializer.Serialize(
            new
            {
                parts = plan.Memory.Parts.ToDictionary(p => p.Name, p => p.Bytes),
                peak_bytes = plan.Memory.Peak,
                offloaded_bytes = plan.Memory.Offloaded,
                available_bytes = plan.Available,
                host_available_bytes = plan.HostAvailable,
                fits = plan.Fits,
                largest_context = plan.LargestContext,
                kept_bytes = plan.Memory.Kept,
                activation_memory_bytes = plan.ActivationMemory,
                flops = plan.Step.Needed,
                recomputed_flops = plan.Step.Recomputed,
                full_flops = plan.FullStep.Needed,
                rate,
                ranks = job.Ranks,
                sequence_parallel = job.SequenceParallel,
                shard = job.Shard.ToString().ToLowerInvariant(),
                longest_part = plan.Division?.LongestPart,
                border_right_bytes = plan.Division?.Border.Right,
                border_left_bytes = plan.Division?.Border.Left,
                border_seconds = job.BorderSeconds,
                ulysses_bytes = plan.Division?.UlyssesBytes,
                ring_bytes = plan.Division?.RingBytes,
                matrix_bytes = job.MatrixBytes,
                matrix_seconds = job.MatrixSeconds,
                gradient_bytes = job.GradientBytes,
                gradient_seconds = job.GradientSeconds,
            }
        ) + "\n";
}
