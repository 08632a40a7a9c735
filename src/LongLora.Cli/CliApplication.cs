using System.CommandLine;
using System.CommandLine.Help;
using LongLora.Cli.Commands;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli;

/// <summary>Exit codes; others script against them.</summary>
public static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Done = 0;

    /// <summary>A fault of this program.</summary>
    public const int Fault = 1;

    /// <summary>Wrong usage, recipe or option.</summary>
    public const int Usage = 2;

    /// <summary>A model or data file that is missing, damaged or not supported.</summary>
    public const int Input = 3;

    /// <summary>Interrupted; a training run can be resumed.</summary>
    public const int Interrupted = 130;
}

/// <summary>What every command is given.</summary>
/// <param name="Console">For results: rich in a terminal, plain text in a pipe.</param>
/// <param name="Error">For messages about what went wrong.</param>
/// <param name="Cancellation">Set by Ctrl-C.</param>
public sealed record CliContext(IAnsiConsole Console, TextWriter Error, CancellationToken Cancellation);

/// <summary>The <c>longlora</c> command: one file a verb under Commands/.</summary>
public static class CliApplication
{
    /// <summary>Runs one command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="output">Standard output.</param>
    /// <param name="error">Standard error.</param>
    /// <param name="cancellation">Set by Ctrl-C.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] args, TextWriter output, TextWriter error, CancellationToken cancellation = default)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
        if (!ReferenceEquals(output, Console.Out) || Console.IsOutputRedirected)
            console.Profile.Width = 160; // a pipe has no edge to wrap at
        var context = new CliContext(console, error, cancellation);
        var verbose = new Option<bool>("--verbose") { Description = "show stack traces", Recursive = true };
        // Not a RootCommand: that one is called after the program file, not after the command that people type.
        var root = new Command("longlora", "Extends the context window of large language models with LongLoRA.")
        {
            new HelpOption(),
            new VersionOption(),
            verbose,
            TrainCommand.Create(context),
            EvaluateCommand.Create(context),
            MergeCommand.Create(context),
            InspectCommand.Create(context),
            BenchCommand.Create(context),
        };
        var parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
            return ReportUsage(parsed, error);
        var configuration = new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        try
        {
            return parsed.Invoke(configuration);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            error.WriteLine("Interrupted.");
            return ExitCode.Interrupted;
        }
        catch (Exception e)
        {
            error.WriteLine(e is LongLoraException ? e.Message : $"Internal fault: {e.GetType().Name}: {e.Message}");
            if (parsed.GetValue(verbose))
                error.WriteLine(e.ToString());
            else if (e is not LongLoraException)
                error.WriteLine("Run again with --verbose for details, and please report it.");
            return e switch
            {
                ConfigurationException => ExitCode.Usage,
                CheckpointException or DataException => ExitCode.Input,
                _ => ExitCode.Fault,
            };
        }
    }

    private static int ReportUsage(ParseResult parsed, TextWriter error)
    {
        foreach (var problem in parsed.Errors)
            error.WriteLine(problem.Message);
        var command = parsed.CommandResult.Command;
        var names = command.Options.Select(o => o.Name).ToList();
        foreach (var token in parsed.UnmatchedTokens.Where(t => t.StartsWith("--", StringComparison.Ordinal)))
        {
            if (NearestName.Find(token, names) is { } nearest)
                error.WriteLine($"Did you mean {nearest} for {token}?");
        }
        error.WriteLine($"See: {Path(parsed)} --help");
        return ExitCode.Usage;
    }

    private static string Path(ParseResult parsed)
    {
        var names = new List<string>();
        for (var result = parsed.CommandResult; result is not null; result = result.Parent as System.CommandLine.Parsing.CommandResult)
            names.Insert(0, result.Command.Name);
        return string.Join(' ', names);
    }
}
