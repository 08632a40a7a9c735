using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--model</c>: the model that a command works on.</summary>
internal sealed class ModelOption : Option<string>
{
    internal ModelOption(
        string description = "folder of a Hugging Face model, a .gguf file, org/name in the Hugging Face cache, or ollama:NAME",
        bool isRequired = true,
        string helpName = "MODEL"
    )
        : base("--model") => (Description, Required, HelpName) = (description, isRequired, helpName);
}
