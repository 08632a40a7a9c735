using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--template-options</c>: variables of the chat template.</summary>
internal sealed class TemplateOptionsOption : Option<string[]>
{
    internal TemplateOptionsOption(string when = "")
        : base("--template-options")
    {
        (Description, HelpName) = ($"{when}variables of the chat template, such as enable_thinking=false", "NAME=VALUE");
        AllowMultipleArgumentsPerToken = true;
        DefaultValueFactory = _ => [];
    }
}
