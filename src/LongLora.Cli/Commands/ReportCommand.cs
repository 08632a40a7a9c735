using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Reports;
using LongLora.Runtime;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora report</c>: writes an HTML page about one or more runs.</summary>
internal static class ReportCommand
{
    internal static Command Create(CliContext context)
    {
        var runs = new Argument<string[]>("run")
        {
            Description = "run directories",
            HelpName = "RUN_DIR",
            Arity = ArgumentArity.OneOrMore,
        };
        var output = new OutputOption(
            "HTML file to write [default: report.html in the run directory; required for several runs]",
            isRequired: false,
            "FILE"
        );
        var command = new Verb(
            "report",
            "Write an HTML page about one or more runs: loss, speed, memory, recipe, and the evaluations (--json files) in the run "
                + "directory or its evaluations/ folder.",
            "longlora report runs/a",
            "longlora report runs/a runs/b --output both.html"
        )
        {
            runs,
            output,
        };
        command.SetAction(parsed =>
        {
            var paths = parsed.GetValue(runs)!;
            if (paths.Length > 1 && parsed.GetValue(output) is null)
                throw new ConfigurationException($"There are {paths.Length} runs. Give the file for their common page with --output FILE.");
            var file = parsed.GetValue(output) ?? Path.Combine(paths[0], "report.html");
            ReportPage.Write(file, [.. paths.Select(RunReader.Read)]);
            context.Output.WriteLine($"Report: {file}");
            return ExitCode.Done;
        });
        return command;
    }
}
