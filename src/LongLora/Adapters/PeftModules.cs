using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Adapters;

/// <summary>
/// A set of modules in <c>adapter_config.json</c>: either a list of names, each of which matches a module with that name or with a name
/// that ends in a dot and that name, or one Python regular expression for the full name.
/// </summary>
internal sealed class PeftModules
{
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(2);

    private readonly Regex? _pattern;

    /// <summary>A list of names.</summary>
    internal PeftModules(IReadOnlyList<string> names) => Names = names;

    /// <summary>A regular expression.</summary>
    /// <param name="pattern">In Python's syntax.</param>
    /// <param name="place">File and field, for messages.</param>
    internal PeftModules(string pattern, string place) => _pattern = Compile($@"\A(?:{pattern})\z", pattern, place);

    /// <summary>The names; null for a regular expression.</summary>
    internal IReadOnlyList<string>? Names { get; }

    /// <summary>Whether the set contains a module.</summary>
    internal bool Contain(string module) => _pattern is null ? Names!.Any(name => IsNamed(module, name)) : Fits(_pattern, module);

    /// <summary>Whether an expression matches a module's name.</summary>
    /// <exception cref="CheckpointException">Matching takes too long.</exception>
    internal static bool Fits(Regex pattern, string module)
    {
        try
        {
            return pattern.IsMatch(module);
        }
        catch (RegexMatchTimeoutException e)
        {
            throw new CheckpointException(
                $"The regular expression '{pattern}' in the adapter's config takes too long to match '{module}'. List the module "
                    + "names instead.",
                e
            );
        }
    }

    /// <summary>Whether a module has that name, or a name that ends in a dot and that name.</summary>
    internal static bool IsNamed(string module, string name) => module == name || module.EndsWith("." + name, StringComparison.Ordinal);

    /// <summary>Whether a name is a dot-separated part of a module's name, so it is the module or contains it.</summary>
    internal static bool IsWithin(string module, string name) => $".{module}.".Contains($".{name}.", StringComparison.Ordinal);

    /// <summary>The number of the decoder block in a name; null for what is outside of them.</summary>
    internal static int? FindBlock(string name)
    {
        foreach (var part in name.Split('.'))
        {
            if (int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                return number;
        }
        return null;
    }

    /// <summary>
    /// A key of <c>rank_pattern</c> or <c>alpha_pattern</c>: a regular expression for the end of a module's name, starting at a dot.
    /// </summary>
    internal static Regex CompileKey(string key, string place) => Compile($@"\A(?:.*\.)?(?:{key})\z", key, place);

    /// <summary>A pattern of <c>layers_pattern</c>: the number after it in a module's name is group <c>layer</c>.</summary>
    internal static Regex CompileLayer(string pattern, string place) => Compile($@"\A.*\.(?:{pattern})\.(?<layer>\d+)\.", pattern, place);

    // Python's syntax is the same as .NET's, except for named groups and the end of the text.
    private static Regex Compile(string whole, string given, string place)
    {
        whole = whole.Replace("(?P<", "(?<", StringComparison.Ordinal).Replace(@"\Z", @"\z", StringComparison.Ordinal);
        whole = Regex.Replace(whole, @"\(\?P=(\w+)\)", @"\k<$1>");
        try
        {
            return new Regex(whole, RegexOptions.CultureInvariant, s_longest);
        }
        catch (ArgumentException e)
        {
            throw new CheckpointException($"{place} is '{given}', which is not a valid regular expression: {e.Message}", e);
        }
    }
}
