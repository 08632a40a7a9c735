using Spectre.Console;

namespace LongLora.Cli;

/// <summary>What every command gets.</summary>
public sealed class CliContext
{
    internal CliContext(TextReader input, TextWriter output, TextWriter error, Interruption interruption, CliJob job)
    {
        (Input, Output, Results, Error, Interruption, Job) = (input, output, output, error, interruption, job);
        Console = MakeConsole(output);
        // A signal comes to every rank of a job, also when the launcher ends it.
        SayStopping = job.HasOthers ? () => { } : () => error.WriteLine("Stopping. Press Ctrl-C again to stop immediately.");
    }

    /// <summary>The job that this process belongs to.</summary>
    internal CliJob Job { get; }

    /// <summary>For tables and live displays: formatted in a terminal, plain in a pipe.</summary>
    public IAnsiConsole Console { get; private set; }

    /// <summary>Standard input.</summary>
    public TextReader Input { get; }

    /// <summary>For lines that must not be wrapped, such as commands to copy.</summary>
    public TextWriter Output { get; private set; }

    /// <summary>Standard output, for the results of a command as JSON.</summary>
    internal TextWriter Results { get; }

    /// <summary>For error messages.</summary>
    public TextWriter Error { get; }

    /// <summary>Handles Ctrl-C.</summary>
    public Interruption Interruption { get; }

    /// <summary>Canceled when the command should end.</summary>
    public CancellationToken Cancellation => Interruption.Token;

    /// <summary>Whether only results, warnings and errors are shown (<c>--quiet</c>).</summary>
    public bool IsQuiet { get; internal set; }

    /// <summary>Whether stack traces are shown (<c>--verbose</c>).</summary>
    internal bool IsVerbose { get; set; }

    /// <summary>Whether someone looks at a display of progress.</summary>
    internal bool ShowsProgress => !IsQuiet && !Job.HasOthers && Console.Profile.Out.IsTerminal;

    /// <summary>
    /// Tells the user that Ctrl-C was received. A live display replaces this while it is shown, so that its lines stay intact.
    /// </summary>
    public Action SayStopping { get; set; }

    /// <summary>Leaves standard output to the results: what is said to people goes to standard error from now on.</summary>
    internal void KeepOutputForResults() => (Output, Console) = (Error, MakeConsole(Error));

    // The launcher may give ranks a terminal of their own.
    private IAnsiConsole MakeConsole(TextWriter writer)
    {
        var console = AnsiConsole.Create(
            new AnsiConsoleSettings
            {
                Out = new AnsiConsoleOutput(writer),
                Ansi = Job.HasOthers ? AnsiSupport.No : AnsiSupport.Detect,
                Interactive = Job.HasOthers ? InteractionSupport.No : InteractionSupport.Detect,
            }
        );
        var isTerminal =
            ReferenceEquals(writer, System.Console.Out) && !System.Console.IsOutputRedirected
            || ReferenceEquals(writer, System.Console.Error) && !System.Console.IsErrorRedirected;
        if (!isTerminal || Job.HasOthers)
            console.Profile.Width = 10_000; // a pipe has no edge to wrap at
        return console;
    }
}
