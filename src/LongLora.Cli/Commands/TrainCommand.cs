using System.CommandLine;
using LongLora.Adapters;
using LongLora.Reports;
using LongLora.Runtime;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora train</c>: its flags are the option table, on top of a recipe.</summary>
internal static class TrainCommand
{
    internal static Command Create(CliContext context)
    {
        var recipe = new Option<FileInfo>("--recipe") { Description = "YAML file with any of these options; flags override it", HelpName = "FILE" };
        var command = new Command("train", "Fine-tune a model to a longer context.") { recipe };
        var flags = FineTuneOptionTable.All.Select(option => (Option: option, Flag: Flag(option))).ToList();
        flags.ForEach(f => command.Options.Add(f.Flag));
        command.SetAction(parsed =>
        {
            var options = FineTuneOptionTable.Defaults;
            if (parsed.GetValue(recipe) is { } file)
                options = Recipe.ReadFile(file.FullName, options);
            foreach (var (option, flag) in flags)
            {
                if (parsed.GetResult(flag) is { Implicit: false } given)
                    options = option.Apply(options, given.Tokens.Count == 0 && option.IsSwitch ? "true" : string.Join('\n', given.Tokens.Select(t => t.Value)));
            }
            return Run(options, context);
        });
        return command;
    }

    private static Option<string[]> Flag(FineTuneOption option)
    {
        var standard = option.Format(FineTuneOptionTable.Defaults);
        var showDefault = standard.Length > 0 && option.Group != "Run" && !(option.IsSwitch && standard == "false");
        return new Option<string[]>("--" + option.Name)
        {
            Description = option.Help + (showDefault ? $" [default: {standard}]" : ""),
            HelpName = option.IsSwitch ? "true|false" : option.Placeholder,
            Arity = option.IsSwitch ? ArgumentArity.ZeroOrOne : option.IsList ? ArgumentArity.OneOrMore : ArgumentArity.ExactlyOne,
            AllowMultipleArgumentsPerToken = option.IsList,
            CustomParser = result => [.. result.Tokens.Select(t => t.Value)],
        };
    }

    private static int Run(FineTuneOptions options, CliContext context)
    {
        var view = new TrainingView(context.Console, options);
        try
        {
            var result = view.Show(progress => FineTune.Run(options, progress, context.Cancellation));
            SavePlot(options);
            view.ShowResult(result);
            return ExitCode.Done;
        }
        catch (OperationCanceledException)
        {
            SavePlot(options);
            context.Error.WriteLine($"Interrupted and saved. Continue with the same command and --resume.");
            return ExitCode.Interrupted;
        }
    }

    private static void SavePlot(FineTuneOptions options)
    {
        if (File.Exists(Path.Combine(options.Output, "metrics.jsonl")))
            LossPlot.Save(Path.Combine(options.Output, "loss.png"), MetricsLog.Read(options.Output), $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(options.Model))} at {options.Context:N0} tokens");
    }
}
