using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>Defines the options of one part: how each is parsed from text and formatted.</summary>
/// <param name="part">The part.</param>
/// <param name="select">Returns the part from all options.</param>
/// <param name="replace">Returns the options with the part replaced.</param>
internal sealed class OptionBuilder<TPart>(
    OptionPart part,
    Func<FineTuneOptions, TPart> select,
    Func<FineTuneOptions, TPart, FineTuneOptions> replace
)
{
    /// <summary>A string.</summary>
    internal FineTuneOption Text(
        string name,
        string group,
        OptionEffect effect,
        string placeholder,
        string help,
        Func<TPart, string> get,
        Func<TPart, string, TPart> set
    ) => Make(name, group, effect, placeholder, help, get, set);

    /// <summary>A string or null.</summary>
    internal FineTuneOption OptionalText(
        string name,
        string group,
        OptionEffect effect,
        string placeholder,
        string help,
        Func<TPart, string?> get,
        Func<TPart, string?, TPart> set
    ) => Make(name, group, effect, placeholder, help, o => get(o), (o, v) => set(o, v.Length == 0 ? null : v));

    /// <summary>A list of strings.</summary>
    internal FineTuneOption List(
        string name,
        string group,
        OptionEffect effect,
        string placeholder,
        string help,
        Func<TPart, IReadOnlyList<string>> get,
        Func<TPart, IReadOnlyList<string>, TPart> set
    ) => Make(name, group, effect, placeholder, help, get, (o, v) => set(o, v.Split('\n', StringSplitOptions.RemoveEmptyEntries)));

    /// <summary>An integer.</summary>
    internal FineTuneOption Whole(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, int> get,
        Func<TPart, int, TPart> set
    ) => Make(name, group, effect, "N", help, o => get(o), (o, v) => set(o, NumberText.ParseWhole<int>(name, v)));

    /// <summary>An integer or null.</summary>
    internal FineTuneOption OptionalWhole(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, int?> get,
        Func<TPart, int?, TPart> set
    ) => Make(name, group, effect, "N", help, o => get(o), (o, v) => set(o, v.Length == 0 ? null : NumberText.ParseWhole<int>(name, v)));

    /// <summary>A number.</summary>
    internal FineTuneOption Real(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, double> get,
        Func<TPart, double, TPart> set
    ) => Make(name, group, effect, "X", help, o => get(o), (o, v) => set(o, NumberText.ParseReal(name, v)));

    /// <summary>A number or null.</summary>
    internal FineTuneOption OptionalReal(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, double?> get,
        Func<TPart, double?, TPart> set
    ) => Make(name, group, effect, "X", help, o => get(o), (o, v) => set(o, v.Length == 0 ? null : NumberText.ParseReal(name, v)));

    /// <summary>An amount of memory, with 0 for none and null for auto.</summary>
    internal FineTuneOption Memory(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, long?> get,
        Func<TPart, long?, TPart> set
    ) => Make(name, group, effect, "auto|SIZE", help, o => FormatMemory(get(o)), (o, v) => set(o, ParseMemory(name, v)));

    /// <summary>On or off.</summary>
    internal FineTuneOption Switch(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, bool> get,
        Func<TPart, bool, TPart> set
    ) => Make(name, group, effect, "", help, o => get(o), (o, v) => set(o, ParseSwitch(name, v)));

    /// <summary>On, off, or null for a default that depends on other options.</summary>
    internal FineTuneOption OptionalSwitch(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, bool?> get,
        Func<TPart, bool?, TPart> set
    ) => Make(name, group, effect, "", help, o => get(o), (o, v) => set(o, v.Length == 0 ? null : ParseSwitch(name, v)));

    /// <summary>One of the values of an enumeration, in kebab-case.</summary>
    internal FineTuneOption Choice<T>(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, T> get,
        Func<TPart, T, TPart> set
    )
        where T : struct, Enum =>
        OptionalChoice<T>(name, group, effect, help, o => get(o), (o, v) => v is { } value ? set(o, value) : throw Refuse<T>(name, ""));

    /// <summary>One of the values of an enumeration, or null for a default that depends on other options.</summary>
    internal FineTuneOption OptionalChoice<T>(
        string name,
        string group,
        OptionEffect effect,
        string help,
        Func<TPart, T?> get,
        Func<TPart, T?, TPart> set
    )
        where T : struct, Enum
    {
        var values = ListNames<T>();
        return Make(
            name,
            group,
            effect,
            string.Join('|', values.Keys),
            help,
            o => get(o) is { } value ? FineTuneOptionTable.ToKebabCase(value.ToString()) : null,
            (o, v) =>
                v.Length == 0 ? set(o, null)
                : values.TryGetValue(v, out var value) ? set(o, value)
                : throw Refuse<T>(name, v)
        );
    }

    private static string FormatMemory(long? bytes) =>
        bytes switch
        {
            null => Auto,
            0 => "0",
            { } some => ByteSize.Format(some),
        };

    /// <summary>Bytes for text: null for auto; a number without a unit is in GiB.</summary>
    internal static long? ParseMemory(string name, string text) =>
        text.Trim() switch
        {
            Auto => null,
            "0" => 0,
            var size => ByteSize.Parse(size, name, "2GiB or 500MB, auto, or 0 for none", plain: 1L << 30),
        };

    private const string Auto = "auto";

    private static Dictionary<string, T> ListNames<T>()
        where T : struct, Enum => Enum.GetValues<T>().ToDictionary(v => FineTuneOptionTable.ToKebabCase(v.ToString()));

    private static ConfigurationException Refuse<T>(string name, string value)
        where T : struct, Enum
    {
        var names = ListNames<T>().Keys;
        return new($"{name} is '{value}'; it must be one of {string.Join(", ", names)}.{NearestName.Hint(value, names)}");
    }

    private static bool ParseSwitch(string name, string text) =>
        bool.TryParse(text, out var value) ? value : throw new ConfigurationException($"{name} is '{text}'; it must be true or false.");

    private FineTuneOption Make(
        string name,
        string group,
        OptionEffect effect,
        string placeholder,
        string help,
        Func<TPart, object?> get,
        Func<TPart, string, TPart> set
    ) => new(name, group, part, effect, placeholder, help, o => get(select(o)), (o, text) => replace(o, set(select(o), text)));
}
