using System.CommandLine;
using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary><c>--lengths</c>, or another name: lengths in tokens, separated by commas.</summary>
internal sealed class LengthsOption : Option<string>
{
    internal LengthsOption(string description, bool isRequired = true, string name = "--lengths", params string[] aliases)
        : base(name, aliases) => (Description, Required, HelpName) = (description, isRequired, "N,N,...");

    /// <summary>The given lengths.</summary>
    /// <exception cref="ConfigurationException">One is not an integer of at least 2.</exception>
    internal List<int> Read(ParseResult parsed)
    {
        var text = parsed.GetValue(this)!;
        var lengths = text.Split(',', StringSplitOptions.TrimEntries)
            .Select(p => int.TryParse(p, NumberStyles.None, CultureInfo.InvariantCulture, out var length) ? length : 0)
            .ToList();
        return lengths.TrueForAll(l => l >= 2)
            ? lengths
            : throw new ConfigurationException(
                $"{parsed.GetResult(this)?.IdentifierToken?.Value ?? Name} is '{text}'; give integers of at least 2, separated by "
                    + "commas, such as 512,1024."
            );
    }
}
