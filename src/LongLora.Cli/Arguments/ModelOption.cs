using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--model</c>: the model that a command works on.</summary>
internal sealed class ModelOption : Option<string>
{
    internal ModelOption(
        string description = "folder of a Hugging Face model, or a .gguf file",
        bool isRequired = true,
        string helpName = "MODEL"
    )
        : base("--model") => (Description, Required, HelpName) = (description, isRequired, helpName);
}
