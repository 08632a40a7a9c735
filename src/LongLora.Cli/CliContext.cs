using Spectre.Console;

namespace LongLora.Cli;

/// <summary>What every command gets.</summary>
public sealed class CliContext
{
    internal CliContext(IAnsiConsole console, TextReader input, TextWriter output, TextWriter error, Interruption interruption, CliJob job)
    {
        (Console, Input, Output, Error, Interruption, Job) = (console, input, output, error, interruption, job);
        // A signal comes to every rank of a job, also when the launcher ends it.
        SayStopping = job.HasOthers ? () => { } : () => error.WriteLine("Stopping. Press Ctrl-C again to stop immediately without saving.");
    }

    /// <summary>The job that this process belongs to.</summary>
    internal CliJob Job { get; }

    /// <summary>For tables and live displays: formatted in a terminal, plain in a pipe.</summary>
    public IAnsiConsole Console { get; }

    /// <summary>Standard input.</summary>
    public TextReader Input { get; }

    /// <summary>For lines that must not be wrapped, such as commands to copy.</summary>
    public TextWriter Output { get; }

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
}
