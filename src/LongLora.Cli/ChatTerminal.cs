using LongLora.Cli.Arguments;
using LongLora.Cli.Terminal;
using LongLora.Generation;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli;

/// <summary>
/// A conversation in a terminal or through a pipe. In a pipe, lines that start with a slash come first, the rest is one question, and only
/// its answer goes to standard output.
/// </summary>
internal sealed class ChatTerminal(CliContext context, ChatSession session)
{
    private static readonly (string Usage, string Text)[] s_commands =
    [
        ("/load FILE", "put a document before the next question: .txt, .md, .pdf, .docx, .html, or a folder"),
        ("/system TEXT", "set the system message and start again; without TEXT, remove it"),
        ("/reset", "start again without messages and documents"),
        ("/save FILE", "write the conversation as JSON, which longlora sft reads"),
        ("/help", "show these commands"),
        ("/exit", "leave; Ctrl-D does the same, and Ctrl-C stops an answer or leaves"),
        ("Alt-Enter", "begin a new line; pasted text stays one message, and the arrow keys bring earlier messages back"),
    ];

    private readonly IAnsiConsole _console = context.Console;
    private LineEditor? _editor; // null where the terminal understands no ANSI sequences
    private bool _isPiped;

    internal int Run()
    {
        _isPiped = !ReferenceEquals(context.Input, Console.In) || Console.IsInputRedirected;
        if (_isPiped)
            return RunPiped(context.Input.ReadToEnd());
        context.SayStopping = () => { }; // there is nothing to save
        if (_console.Profile.Capabilities.Ansi)
            _editor = new LineEditor(new ConsoleKeys(), context.Output, () => (_console.Profile.Width, _console.Profile.Height));
        _console.MarkupLineInterpolated($"[bold]{session.Model.Name}[/]  [grey]{DescribeRoom()}; /help for commands[/]");
        while (Read() is { } line)
        {
            if (line.Trim() is not { Length: > 0 } text)
                continue;
            if (text is "/exit" or "/quit" or "/bye")
                break;
            try
            {
                if (text[0] == '/')
                    RunCommand(text);
                else
                    Ask(text);
            }
            catch (LongLoraException e)
            {
                _console.MarkupLineInterpolated($"[red]{MessageText.Bound(e.Message)}[/]");
            }
            catch (OperationCanceledException) when (!context.Cancellation.IsCancellationRequested)
            {
                _console.MarkupLine("[grey]stopped[/]");
            }
        }
        return ExitCode.Done;
    }

    private int RunPiped(string text)
    {
        while (text.StartsWith('/'))
        {
            var end = text.IndexOf('\n', StringComparison.Ordinal);
            var line = end < 0 ? text : text[..end];
            RunCommand(line.Trim());
            text = end < 0 ? "" : text[(end + 1)..];
        }
        if (text.Trim() is not { Length: > 0 } question)
            throw new ConfigurationException("There is no question on standard input.");
        Ask(question);
        return ExitCode.Done;
    }

    // Reading a line cannot be interrupted, so it runs on another thread. The process ends without waiting for it.
    private string? Read()
    {
        try
        {
            if (_editor is not null)
                return _editor.Read(context.Cancellation);
            _console.Write("> ");
            var line = Task.Run(context.Input.ReadLine);
            line.Wait(context.Cancellation);
            return line.Result;
        }
        catch (OperationCanceledException)
        {
            _console.WriteLine();
            return null;
        }
    }

    private void RunCommand(string line)
    {
        var (name, rest) = line.Split(' ', 2, StringSplitOptions.TrimEntries) is [var first, var second] ? (first, second) : (line, "");
        switch (name)
        {
            case "/load" when rest.Length > 0:
                Say($"{Path.GetFileName(rest)}: {session.Load(rest.Trim('"')):N0} tokens, before your next question");
                break;
            case "/system":
                session.SetSystem(rest);
                Say(
                    rest.Length > 0
                        ? "system message set; a new conversation starts"
                        : "system message removed; a new conversation " + "starts"
                );
                break;
            case "/reset":
                session.Reset();
                Say(DescribeRoom());
                break;
            case "/save" when rest.Length > 0:
                session.Save(rest);
                Say($"written to {rest}");
                break;
            case "/load" or "/save":
                throw new ConfigurationException($"{name} needs a file.");
            case "/help":
                ShowHelp();
                break;
            default:
                throw new ConfigurationException(
                    $"There is no command {name}.{NearestName.Hint(name, s_commands.Select(c => c.Usage.Split(' ')[0]))} /help "
                        + $"shows all commands."
                );
        }
    }

    private void Ask(string question)
    {
        using var reading = new ReadingLine(_console, isShown: !_isPiped);
        var wrapped = new WrappedText(context.Output, _console.Profile.Width);
        TimeSpan? first = null;
        var last = context.Interruption.RunStoppable(stop =>
        {
            AnswerPiece last = default;
            try
            {
                foreach (var piece in session.Ask(question, reading, stop))
                {
                    last = piece;
                    if (piece.Text.Length == 0)
                        continue;
                    first ??= piece.Time;
                    reading.Dispose();
                    if (_isPiped)
                        context.Output.Write(piece.Text);
                    else
                        wrapped.Write(piece.Text);
                    context.Output.Flush();
                }
            }
            finally
            {
                if (first is not null)
                    wrapped.End();
            }
            return last;
        });
        if (first is null)
            context.Output.WriteLine();
        Say(DescribeSpeed(last.Result!, first ?? last.Time, last.Time));
    }

    private string DescribeSpeed(GenerationResult result, TimeSpan first, TimeSpan all)
    {
        var rate =
            result.Tokens.Count > 1 && all > first ? $", then {(result.Tokens.Count - 1) / (all - first).TotalSeconds:N0} tokens/s" : "";
        var cached = result.CachedTokens > 0 ? $" ({result.CachedTokens:N0} from the cache)" : "";
        return $"{DescribeRoom()}; {result.PromptTokens:N0} read{cached} in {first.TotalSeconds:N1} "
            + $"s{rate}{(result.Finish == FinishReason.Length ? "; cut off at the limit" : "")}"
            + SamplingArguments.DescribeGuesses(result)
            + SamplingArguments.DescribeSeed(session.Options, result);
    }

    private string DescribeRoom() =>
        session.Model.IsEndless
            ? $"{session.Used:N0} tokens used, without a limit"
            : $"{session.Used:N0} of {session.Model.Context:N0} tokens used";

    private void ShowHelp()
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn();
        foreach (var (usage, text) in s_commands)
            grid.AddRow(new Text(usage), new Text(text, new Style(Color.Grey)));
        _console.Write(grid);
    }

    private void Say(string line)
    {
        if (_isPiped && context.IsQuiet)
            return;
        if (_isPiped)
            context.Error.WriteLine(line);
        else
            _console.MarkupLineInterpolated($"[grey]{line}[/]");
    }

    // Shows how much of a long prompt has been read, on a line that disappears when the answer starts.
    private sealed class ReadingLine(IAnsiConsole console, bool isShown) : IProgress<PromptProgress>, IDisposable
    {
        private const int Short = 1024; // read before anyone could look

        private bool _isThere;

        public void Report(PromptProgress value)
        {
            if (!isShown || !console.Profile.Capabilities.Ansi || (!_isThere && value.Tokens - value.Read <= Short))
                return;
            console.Write(new ControlCode("\r"));
            console.MarkupInterpolated($"[grey]reading, {value.Read:N0} of {value.Tokens:N0} tokens[/]");
            _isThere = true;
        }

        public void Dispose()
        {
            if (_isThere)
                console.Write(new ControlCode("\r\e[2K"));
            _isThere = false;
        }
    }
}
