using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--json</c>: a file for the results of a command.</summary>
internal sealed class JsonOption : Option<string>
{
    internal JsonOption(string what = "the results")
        : base("--json") => (Description, HelpName) = ($"also write {what} to this file", "FILE");
}
