using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--seed</c>, 0 wherever a model is measured or asked.</summary>
internal sealed class SeedOption : Option<int>
{
    internal SeedOption(string description, string helpName = "S", int standard = 0)
        : base("--seed") => (Description, HelpName, DefaultValueFactory) = (description, helpName, _ => standard);
}
