using Spectre.Console;

namespace LongLora.Cli;

/// <summary>What every command is given.</summary>
public sealed class CliContext
{
    internal CliContext(IAnsiConsole console, TextReader input, TextWriter output, TextWriter error, Interruption interruption)
    {
        (Console, Input, Output, Error, Interruption) = (console, input, output, error, interruption);
        SayStopping = () => error.WriteLine("Stopping; press Ctrl-C again to stop at once, without saving.");
    }

    /// <summary>For tables and live displays: rich in a terminal, plain in a pipe.</summary>
    public IAnsiConsole Console { get; }

    /// <summary>Standard input.</summary>
    public TextReader Input { get; }

    /// <summary>For lines that must stay whole, such as commands to copy.</summary>
    public TextWriter Output { get; }

    /// <summary>For messages about what went wrong.</summary>
    public TextWriter Error { get; }

    /// <summary>What Ctrl-C means.</summary>
    public Interruption Interruption { get; }

    /// <summary>Set when the command is to end.</summary>
    public CancellationToken Cancellation => Interruption.Token;

    /// <summary>
    /// Tells the user that Ctrl-C was heard. A live display puts its own way here while it is shown, so that its lines stay whole.
    /// </summary>
    public Action SayStopping { get; set; }
}
