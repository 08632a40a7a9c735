using System.Globalization;

namespace LongLora.Options;

/// <summary>One option as users write it: a key of the recipe, and a flag of the command line with two dashes in front.</summary>
/// <param name="Name">Name in kebab-case.</param>
/// <param name="Group">Heading under which help shows it.</param>
/// <param name="Part">The part of the options that has it.</param>
/// <param name="Effect">What it changes: tokens, numbers, or neither.</param>
/// <param name="Placeholder">What stands for the value in help, such as <c>N</c> or <c>DIR</c>; empty for a switch.</param>
/// <param name="Help">What it does, with unit and range; the default is added.</param>
/// <param name="Value">Reads it: a string, int, double, bool, list of strings, or null.</param>
/// <param name="Apply">Sets it from text; a list is separated by the line feed.</param>
internal sealed record FineTuneOption(
    string Name,
    string Group,
    OptionPart Part,
    OptionEffect Effect,
    string Placeholder,
    string Help,
    Func<FineTuneOptions, object?> Value,
    Func<FineTuneOptions, string, FineTuneOptions> Apply
)
{
    /// <summary>Whether it takes several values.</summary>
    public bool IsList => Value(FineTuneOptionTable.Defaults) is IReadOnlyList<string>;

    /// <summary>Whether it is on or off.</summary>
    public bool IsSwitch => Placeholder.Length == 0;

    /// <summary>Its value as text; numbers in full precision.</summary>
    public string Format(FineTuneOptions options) =>
        Value(options) switch
        {
            null => "",
            IReadOnlyList<string> list => string.Join(", ", list),
            bool value => value ? "true" : "false",
            double value => value.ToString("R", CultureInfo.InvariantCulture).ToLowerInvariant(),
            var value => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        };
}
