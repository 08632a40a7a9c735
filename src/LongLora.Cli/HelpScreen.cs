using System.CommandLine;
using System.CommandLine.Invocation;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Cli;

/// <summary>An option that help shows under a heading.</summary>
internal interface IGrouped
{
    /// <summary>The heading.</summary>
    string Group { get; }
}

/// <summary>A command with examples, which help shows first because most people copy one.</summary>
internal sealed class Verb(string name, string description, params string[] examples) : Command(name, description)
{
    internal IReadOnlyList<string> Examples { get; } = examples;

    /// <summary>Whether several ranks of a job can run it together.</summary>
    internal bool TakesRanks { get; init; }

    /// <summary>Whether it only tells about commands, and so needs no library of the machine.</summary>
    internal bool OnlyTells { get; init; }
}

/// <summary>Writes the help of a command for 80 columns: options under their headings, with text beside them.</summary>
internal sealed partial class HelpScreen : SynchronousCommandLineAction
{
    private const int Width = 80,
        TextColumn = 30;

    // People ask for help when their command is not complete yet.
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        parseResult.InvocationConfiguration.Output.Write(Write(parseResult.CommandResult.Command));
        return ExitCode.Done;
    }

    internal static string Write(Command command)
    {
        var text = new StringBuilder();
        Wrap(text, command.Description ?? "", 0);
        text.AppendLine().AppendLine($"Usage: {DescribeUsage(command)}");
        if (command is Verb { Examples.Count: > 0 } verb)
        {
            text.AppendLine().AppendLine("Example:");
            foreach (var example in verb.Examples)
                text.AppendLine("  " + example);
        }
        if (command.Arguments.Count > 0)
            WriteSection(text, "Arguments", command.Arguments.Select(a => (NameOf(a), a.Description)));
        if (command.Subcommands.Count > 0)
            WriteSection(
                text,
                "Commands",
                command.Subcommands.Where(c => !c.Hidden).Select(c => (c.Name, CutFirstSentence(c.Description)))
            );
        var groups = ListOptions(command).Where(o => !o.Hidden).GroupBy(o => o is IGrouped { Group: var heading } ? heading : "Options");
        foreach (var group in groups.OrderBy(g => g.Key == "Options"))
            WriteSection(text, group.Key, group.Select(o => (DescribeLabel(o), (string?)DescribeOption(o))));
        if (command.Subcommands.Count > 0)
            text.AppendLine().AppendLine($"Help for a command: {GetPath(command)} <command> --help");
        return text.ToString();
    }

    // The command's own help contains the rest.
    private static string? CutFirstSentence(string? text) =>
        text?.IndexOf(". ", StringComparison.Ordinal) is { } end and >= 0 ? text[..(end + 1)] : text;

    /// <summary>The words that call a command, such as <c>longlora evaluate perplexity</c>.</summary>
    internal static string GetPath(Command command) =>
        command.Parents.OfType<Command>().FirstOrDefault() is { } parent ? $"{GetPath(parent)} {command.Name}" : command.Name;

    /// <summary>How help names an argument.</summary>
    internal static string NameOf(Argument argument) => argument.HelpName ?? argument.Name;

    // Its own options first, then those that every command has.
    private static IEnumerable<Option> ListOptions(Command command)
    {
        var inherited = new List<Option>();
        for (
            var above = command.Parents.OfType<Command>().FirstOrDefault();
            above is not null;
            above = above.Parents.OfType<Command>().FirstOrDefault()
        )
            inherited.AddRange(above.Options.Where(o => o.Recursive));
        return command.Options.Concat(inherited);
    }

    private static string DescribeUsage(Command command)
    {
        var parts = new List<string> { GetPath(command) };
        if (command.Subcommands.Count > 0)
            parts.Add(command.Action is null ? "<command>" : "[command]");
        parts.AddRange(command.Arguments.Select(NameOf));
        parts.Add("[options]");
        return string.Join(' ', parts);
    }

    private static string DescribeLabel(Option option)
    {
        var names = string.Join(", ", option.Aliases.Where(a => a.Length == 2 && a[0] == '-').Append(option.Name));
        return option.HelpName is not { Length: > 0 } value ? names
            : option.Arity.MinimumNumberOfValues > 0 ? $"{names} {value}"
            : $"{names} [{value}]";
    }

    private static string DescribeOption(Option option) =>
        option.Description + (option.Required ? "; required" : "") + DescribeDefault(option);

    // The default of an option, unless its text already says it.
    private static string DescribeDefault(Option option)
    {
        if (!option.HasDefaultValue || option.Description?.Contains("[default", StringComparison.Ordinal) == true)
            return "";
        var value = option.GetDefaultValue() switch
        {
            null or "" or false => null,
            string text => text,
            Enum or true => option.GetDefaultValue()!.ToString()!.ToLowerInvariant(),
            IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
            _ => null,
        };
        return value is null ? "" : $" [default: {value}]";
    }

    private static void WriteSection(StringBuilder text, string heading, IEnumerable<(string Label, string? Text)> rows)
    {
        text.AppendLine().AppendLine(heading + ":");
        foreach (var (label, description) in rows)
        {
            text.Append("  ").Append(label);
            if (label.Length + 4 > TextColumn)
                text.AppendLine().Append(' ', TextColumn);
            else
                text.Append(' ', TextColumn - label.Length - 2);
            Wrap(text, description ?? "", TextColumn);
        }
    }

    // A word, or a short default in brackets, which must not be broken.
    [GeneratedRegex(@"\[[^\]]{1,46}\]|\S+")]
    private static partial Regex MatchUnit();

    private static void Wrap(StringBuilder text, string words, int indent)
    {
        var column = indent;
        foreach (var word in MatchUnit().Matches(words).Select(m => m.Value))
        {
            if (column > indent && column + 1 + word.Length >= Width)
            {
                text.AppendLine().Append(' ', indent);
                column = indent;
            }
            if (column > indent)
            {
                text.Append(' ');
                column++;
            }
            text.Append(word);
            column += word.Length;
        }
        text.AppendLine();
    }
}
