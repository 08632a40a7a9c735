using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--seed</c>, with default 0 for measuring and generating.</summary>
internal sealed class SeedOption : Option<int>
{
    /// <summary>The option's name.</summary>
    internal const string Flag = "--seed";

    internal SeedOption(string description, string helpName = "S", int standard = 0)
        : base(Flag) => (Description, HelpName, DefaultValueFactory) = (description, helpName, _ => standard);
}
