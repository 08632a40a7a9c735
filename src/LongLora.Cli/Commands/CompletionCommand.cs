using System.CommandLine;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora completion</c>: scripts that let shells complete commands and options.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        _longlora() {
            local IFS=$'\n'
            COMPREPLY=($("${COMP_WORDS[0]}" complete "$COMP_POINT" "$COMP_LINE" 2> /dev/null))
        }
        complete -o default -F _longlora longlora
        """;

    private const string Zsh = """
        #compdef longlora
        _longlora() {
            local -a found
            found=("${(@f)$("${words[1]}" complete "$CURSOR" "$BUFFER" 2> /dev/null)}")
            if [[ -n "$found" ]]; then compadd -a found; else _files; fi
        }
        compdef _longlora longlora
        """;

    private const string Fish = """
        function __longlora_complete
            set -l line (commandline -cp | string collect)
            longlora complete (string length -- $line) $line 2> /dev/null
        end
        complete -c longlora -a '(__longlora_complete)'
        """;

    private const string PowerShell = """
        Register-ArgumentCompleter -Native -CommandName longlora -ScriptBlock {
            param($word, $line, $position)
            longlora complete $position "$line" 2> $null | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }
        }
        """;

    internal static Command Create(CliContext context)
    {
        var shell = new Argument<string>("SHELL") { Description = "bash, zsh, fish or pwsh" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish", "pwsh");
        var command = new Verb(
            "completion",
            "Print a script that lets a shell complete commands and options.",
            "source <(longlora completion bash)"
        )
        {
            OnlyTells = true,
        };
        command.Arguments.Add(shell);
        command.SetAction(parsed =>
        {
            context.Output.WriteLine(
                parsed.GetValue(shell) switch
                {
                    "bash" => Bash,
                    "zsh" => Zsh,
                    "fish" => Fish,
                    _ => PowerShell,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary>The verb that the scripts call, with the line as typed so far. It prints what can follow.</summary>
    internal static Command CreateComplete(CliContext context)
    {
        var position = new Argument<int>("POSITION") { Description = "the place of the cursor in the line" };
        var line = new Argument<string>("LINE") { Description = "the line with the name of the program" };
        var command = new Verb("complete", "Print what can follow in a command line.") { OnlyTells = true, Hidden = true };
        command.Arguments.Add(position);
        command.Arguments.Add(line);
        command.SetAction(parsed =>
        {
            var (text, at) = (parsed.GetValue(line)!, parsed.GetValue(position));
            text = text[..Math.Clamp(at, 0, text.Length)];
            var program = text.IndexOf(' ', StringComparison.Ordinal);
            if (program < 0)
                return ExitCode.Done;
            text = text[(program + 1)..];
            var found = parsed.RootCommandResult.Command.Parse(text).GetCompletions(text.Length);
            var word = text[(text.LastIndexOf(' ') + 1)..];
            foreach (var label in found.Select(c => c.Label).Where(l => l.StartsWith(word, StringComparison.Ordinal)).Distinct())
                context.Output.WriteLine(label);
            return ExitCode.Done;
        });
        return command;
    }
}
