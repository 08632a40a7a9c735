using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Studies;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora quickstart</c>: demonstrates the method on the bundled model, in a few minutes and without downloads.</summary>
internal static class QuickstartCommand
{
    internal static string BundledModel { get; } = Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");

    internal static Command Create(CliContext context)
    {
        var output = OutputOption.CreateWithDefault("output folder; must be new or empty", "longlora-quickstart");
        var model = CreateModelOption();
        var factor = new Option<int>("--factor")
        {
            Description = "factor by which the context grows [default: 8]",
            HelpName = "N",
            DefaultValueFactory = _ => 8,
        };
        var steps = new Option<int>("--steps")
        {
            Description = "number of optimizer steps [default: 36]",
            HelpName = "N",
            DefaultValueFactory = _ => 36,
        };
        var trials = new Option<int>("--trials")
        {
            Description = "number of pass keys at each length [default: 20]",
            HelpName = "N",
            DefaultValueFactory = _ => 20,
        };
        var json = new JsonOption();
        var command = new Verb(
            "quickstart",
            "See the method work: measure a small bundled model, extend its context 8 times, and measure it again.",
            "longlora quickstart"
        )
        {
            output,
            model,
            factor,
            steps,
            trials,
            json,
        };
        command.SetAction(parsed =>
        {
            var options = new QuickstartOptions
            {
                Model = parsed.GetValue(model) ?? BundledModel,
                Output = parsed.GetValue(output)!,
                Factor = parsed.GetValue(factor),
                Steps = parsed.GetValue(steps),
                Trials = parsed.GetValue(trials),
            };
            var clock = System.Diagnostics.Stopwatch.StartNew();
            var result = Quickstart.Run(
                options,
                new Told<string>(text => Say(context, $"{clock.Elapsed:m\\:ss}  {text}")),
                new Told<TrainingStep>(s => SayStep(context, s)),
                context.Cancellation
            );
            Show(context, result);
            Leave(context, options, result, clock.Elapsed);
            json.Write(parsed, context, () => result.ToFile(clock.Elapsed));
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The small model for a study.</summary>
    internal static ModelOption CreateModelOption() =>
        new("another small model with a tokenizer [default: the bundled model]", isRequired: false);

    private static void SayStep(CliContext context, TrainingStep step)
    {
        if (step.Step % Math.Max(1, step.Steps / 6) == 0 || step.Step == step.Steps)
            Say(
                context,
                $"        step {step.Step}/{step.Steps}  loss {step.Loss:F3}  {step.TokensPerSecond:N0} tokens/s{DescribeRest(step)}"
            );
    }

    private static string DescribeRest(TrainingStep step) =>
        step.Step == step.Steps ? "" : $"  {step.Elapsed * ((double)(step.Steps - step.Step) / step.Step):m\\:ss} of training left";

    private static void Say(CliContext context, string line)
    {
        context.Output.WriteLine(line);
        context.Output.Flush();
    }

    private static void Show(CliContext context, QuickstartResult result)
    {
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in new[] { "tokens", "pass key before", "rescaled", "after", "perplexity before", "rescaled", "after" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var (before, rescaled, after) in result.Before.Zip(result.Rescaled, result.After))
            table.AddRow(
                $"{before.Length:N0}",
                $"{before.PassKey:P0}",
                $"{rescaled.PassKey:P0}",
                $"{after.PassKey:P0}",
                $"{before.Perplexity:F2}",
                $"{rescaled.Perplexity:F2}",
                $"{after.Perplexity:F2}"
            );
        context.Output.WriteLine();
        context.Console.Write(table);
    }

    private static void Leave(CliContext context, QuickstartOptions options, QuickstartResult result, TimeSpan elapsed)
    {
        string In(string name) => Path.Combine(options.Output, name);
        result.ToFile(elapsed).Write(In("quickstart.json"));
        QuickstartPage.Write(In("report.html"), options, result, MetricsLog.Read(In("run")), elapsed);
        var adapter = result.Training.Result;
        context.Output.WriteLine(
            $"Total time {elapsed:m\\:ss}, of which training took {result.TrainingTime:m\\:ss}. Perplexity is on "
                + $"{result.TestText}, which was held out."
        );
        var change = result.After[0].Perplexity / result.Before[0].Perplexity - 1;
        context.Output.WriteLine(
            "Rescaled: the original weights with YaRN positions, before training. After training, perplexity on short text "
                + $"({result.Before[0].Length} tokens) changed by {change:+0.0 %;-0.0 %}."
        );
        context.Output.WriteLine($"Report: {In("report.html")}");
        context.Output.WriteLine("Next, try your own model (a Hugging Face folder) and your own text:");
        context.Output.WriteLine("  longlora train --model MODEL --data TEXT --context 32768 --output run");
        context.Output.WriteLine("  longlora evaluate passkey --model MODEL --adapter run/adapter --lengths 4096,32768");
        context.Output.WriteLine($"Or look at the new adapter: longlora inspect {adapter}");
    }

    private sealed class Told<T>(Action<T> tell) : IProgress<T>
    {
        public void Report(T value) => tell(value);
    }
}
