using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--adapter</c>: an adapter for the model.</summary>
internal sealed class AdapterOption : Option<string>
{
    /// <summary>The option's name.</summary>
    internal const string Flag = "--adapter";

    internal AdapterOption(string description = "folder of a PEFT adapter for the model", bool isRequired = false)
        : base(Flag) => (Description, Required, HelpName) = (description, isRequired, "DIR");
}
