using System.Globalization;

namespace LongLora.Options;

/// <summary>One option: a key of recipes, and a flag of the command line with two dashes.</summary>
/// <param name="Name">Name in kebab-case.</param>
/// <param name="Group">Heading for the help.</param>
/// <param name="Part">The part that contains it.</param>
/// <param name="Effect">What it changes: tokens, numbers, or neither.</param>
/// <param name="Placeholder">Placeholder for the value in the help, such as <c>N</c> or <c>DIR</c>; empty for a switch.</param>
/// <param name="Help">Description with unit and range; the default is added automatically.</param>
/// <param name="Value">Returns its value: a string, int, double, bool, list of strings, or null.</param>
/// <param name="Apply">Sets it from text; list items are separated by line feeds.</param>
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
    /// <summary>Says that it must be given, for the help; null if it has a default.</summary>
    public string? Required { get; init; }

    /// <summary>Whether it must be given and was not.</summary>
    public bool IsMissing(FineTuneOptions options) =>
        Required is not null
        && Format(options) == Format(FineTuneOptionTable.Defaults)
        && !(Part == OptionPart.Model && Name == "model" && options.Model.FromScratch is not null);

    /// <summary>Whether it is a list.</summary>
    public bool IsList => Value(FineTuneOptionTable.Defaults) is IReadOnlyList<string>;

    /// <summary>Whether it is a switch.</summary>
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
