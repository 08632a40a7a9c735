using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--model</c>: the model that a command works on.</summary>
internal sealed class ModelOption : Option<string>
{
    internal ModelOption(string description = "folder of a Hugging Face model", bool isRequired = true, string helpName = "DIR")
        : base("--model") => (Description, Required, HelpName) = (description, isRequired, helpName);
}
