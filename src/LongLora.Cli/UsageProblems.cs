using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>What is wrong with a command line whose words are all known, in this program's words instead of the parser's.</summary>
internal static partial class UsageProblems
{
    /// <summary>One sentence per problem.</summary>
    internal static IReadOnlyList<string> Describe(ParseResult parsed)
    {
        var command = parsed.CommandResult.Command;
        var path = HelpScreen.GetPath(command);
        List<string> missing =
        [
            .. command
                .Arguments.Where(a => a.Arity.MinimumNumberOfValues > 0 && parsed.GetResult(a) is not { Tokens.Count: > 0 })
                .Select(a => $"{path} needs {HelpScreen.NameOf(a)}: {a.Description}."),
            .. command
                .Options.Where(o => o.Required && parsed.GetResult(o) is null or { Implicit: true })
                .Select(o => $"{path} needs {o.Name} {o.HelpName}: {o.Description}."),
            .. command
                .Options.Where(o => parsed.GetResult(o) is { Implicit: false } given && given.Tokens.Count < o.Arity.MinimumNumberOfValues)
                .Select(o => $"{o.Name} has no value. Give it as {o.Name} {o.HelpName}: {o.Description}."),
        ];
        return missing.Count > 0 ? missing : [.. parsed.Errors.Select(Describe).Distinct()];
    }

    private static string Describe(ParseError error)
    {
        var (name, type) = error.SymbolResult switch
        {
            OptionResult option => (option.Option.Name, option.Option.ValueType),
            ArgumentResult { Parent: OptionResult option } => (option.Option.Name, option.Option.ValueType),
            ArgumentResult argument => (HelpScreen.NameOf(argument.Argument), argument.Argument.ValueType),
            _ => (null, null),
        };
        string[] quoted = [.. Quoted().Matches(error.Message).Select(m => m.Groups[1].Value)];
        if (name is null || quoted is not [var given, .. var known])
            return error.Message;
        if (error.Message.Contains("Must be one of", StringComparison.Ordinal))
        {
            return $"{name} is '{given}'; it must be one of {string.Join(", ", known)}.{NearestName.Hint(given, known)}";
        }
        return error.Message.StartsWith("Cannot parse", StringComparison.Ordinal)
            ? $"{name} is '{given}'; it must be {DescribeType(type!)}."
            : error.Message;
    }

    private static string DescribeType(Type type)
    {
        var one = type.IsArray ? type.GetElementType()! : Nullable.GetUnderlyingType(type) ?? type;
        return one.IsEnum ? $"one of {string.Join(", ", Enum.GetNames(one).Select(n => n.ToLowerInvariant()))}" : "true or false";
    }

    [GeneratedRegex("'([^']*)'")]
    private static partial Regex Quoted();
}
