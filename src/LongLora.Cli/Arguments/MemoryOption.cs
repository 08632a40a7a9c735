using System.CommandLine;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary>An amount of memory; a number without a unit is in GiB.</summary>
internal sealed class MemoryOption : Option<string?>
{
    internal MemoryOption(string name, string description)
        : base(name) => (Description, HelpName) = (description, "SIZE");

    /// <summary>The bytes; null if the option is absent.</summary>
    internal long? Read(ParseResult parsed) =>
        parsed.GetValue(this) is { } text ? ByteSize.Parse(text, Name, "80GiB or 64GB", plain: 1L << 30) : null;
}
