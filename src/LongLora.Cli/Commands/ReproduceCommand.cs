using System.CommandLine;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Evaluation;
using LongLora.Studies;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora reproduce</c>: repeats the paper's tables on the bundled model.</summary>
internal static class ReproduceCommand
{
    internal static Command Create(CliContext context)
    {
        var output = OutputOption.CreateWithDefault("folder for runs and results; existing ones are continued", "longlora-reproduce");
        var model = QuickstartCommand.CreateModelOption();
        var factor = new Option<int>("--factor")
        {
            Description = "factor by which the context grows, a multiple of 4 [default: 4]",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        };
        var steps = new Option<int>("--steps")
        {
            Description = "number of optimizer steps per run [default: 100]",
            HelpName = "N",
            DefaultValueFactory = _ => 100,
        };
        var rate = new Option<double>("--learning-rate")
        {
            Description = "peak learning rate; full fine-tuning uses a quarter of it [default: 0.002]",
            HelpName = "X",
            DefaultValueFactory = _ => 2e-3,
        };
        var trials = new Option<int>("--trials")
        {
            Description = "number of pass keys at each length [default: 10]",
            HelpName = "N",
            DefaultValueFactory = _ => 10,
        };
        var only = new Option<string[]>("--only")
        {
            Description = "do only these runs [default: all]",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [],
        };
        var list = new Option<bool>("--list") { Description = "list the runs and how they differ, without doing any" };
        var json = new JsonOption();
        var command = new Verb(
            "reproduce",
            "Repeat the paper's tables on a small model, in about an hour on two cores. Run it again to continue after an interruption.",
            "longlora reproduce",
            "longlora reproduce --only base lora lora-plus full-tuning"
        )
        {
            output,
            model,
            factor,
            steps,
            rate,
            trials,
            only,
            list,
            json,
        };
        command.SetAction(parsed =>
        {
            var options = new ReproductionOptions
            {
                Model = parsed.GetValue(model) ?? QuickstartCommand.BundledModel,
                Output = parsed.GetValue(output)!,
                Factor = parsed.GetValue(factor),
                Steps = parsed.GetValue(steps),
                LearningRate = parsed.GetValue(rate),
                Trials = parsed.GetValue(trials),
                Only = parsed.GetValue(only)!,
            };
            var native = Reproduction.ReadNativeContext(options);
            if (parsed.GetValue(list))
                return List(context, ReproductionGrid.ListRuns(native, options.Factor));
            var clock = System.Diagnostics.Stopwatch.StartNew();
            var results = new List<ReproductionFile>();
            var file = Path.Combine(options.Output, "reproduce.md");
            Reproduction.Run(
                options,
                new Told<string>(text => Say(context, $"{clock.Elapsed:h\\:mm\\:ss}  {text}")),
                new Told<TrainingStep>(s => SayStep(context, s)),
                new Told<ReproductionFile>(r =>
                {
                    results.Add(r);
                    ReproductionText.Write(file, options, native, results);
                    Say(
                        context,
                        $"         perplexity {string.Join("  ", r.Measures.Select(m => $"{m.Perplexity:F3}"))}   pass key "
                            + $"{string.Join("  ", r.Measures.Select(m => $"{m.PassKey:P0}"))}"
                    );
                }),
                context.Cancellation
            );
            Say(context, $"Tables: {file}");
            json.Write(
                parsed,
                context,
                "reproduce",
                new { Tables = file, Runs = results.Select(r => JsonSerializer.Deserialize<JsonElement>(r.ToText())) }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static int List(CliContext context, IReadOnlyList<ReproductionRun> runs)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("run", "difference");
        foreach (var run in runs)
            table.AddRow(
                run.Name,
                run.Settings is null ? $"not trained, positions {run.Stretch ?? "unchanged"}"
                    : run.Settings.Count == 0 ? "none: S²-Attn, LoRA+, YaRN"
                    : string.Join(", ", run.Settings)
            );
        context.Console.Write(table);
        return ExitCode.Done;
    }

    private static void SayStep(CliContext context, TrainingStep step)
    {
        if (step.Step % Math.Max(1, step.Steps / 3) == 0 || step.Step == step.Steps)
            Say(context, $"         step {step.Step}/{step.Steps}  loss {step.Loss:F3}  {step.TokensPerSecond:N0} tokens/s");
    }

    private static void Say(CliContext context, string line)
    {
        context.Output.WriteLine(line);
        context.Output.Flush();
    }

    private sealed class Told<T>(Action<T> tell) : IProgress<T>
    {
        public void Report(T value) => tell(value);
    }
}
