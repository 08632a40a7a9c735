using System.CommandLine;
using LongLora.Runtime;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora help train</c>, the same as <c>longlora train --help</c>.</summary>
internal static class HelpCommand
{
    internal static Command Create(CliContext context)
    {
        var path = new Argument<string[]>("COMMAND") { Description = "the command, such as: evaluate perplexity" };
        var command = new Verb("help", "Show the help of a command.", "longlora help evaluate perplexity") { OnlyTells = true };
        command.Arguments.Add(path);
        command.SetAction(parsed =>
        {
            var shown = parsed.RootCommandResult.Command;
            foreach (var word in parsed.GetValue(path) ?? [])
            {
                if (shown.Subcommands.FirstOrDefault(c => c.Name == word) is not { } next)
                {
                    context.Error.WriteLine(
                        $"There is no command '{HelpScreen.GetPath(shown)} {word}'."
                            + NearestName.Hint(word, shown.Subcommands.Select(c => c.Name))
                    );
                    return ExitCode.Usage;
                }
                shown = next;
            }
            context.Output.Write(HelpScreen.Write(shown));
            return ExitCode.Done;
        });
        return command;
    }
}
