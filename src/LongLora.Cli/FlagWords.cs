using System.Text.RegularExpressions;
using LongLora.Options;

namespace LongLora.Cli;

/// <summary>
/// Messages of the library in the words of the command line. The library says "set resume", which is right for C# and for recipes; someone
/// at a terminal types <c>--resume</c>.
/// </summary>
internal static class FlagWords
{
    // Options of reading an adapter, which are not options of a training run.
    private static readonly string[] s_switches =
    [
        "allow-missing",
        "keep-vocabulary",
        .. FineTuneOptionTable.All.Where(o => o.IsSwitch).Select(o => o.Name),
    ];
    private static readonly string[] s_others =
    [
        "adapter-context",
        "adapter-scaling",
        "lookup-tokens",
        "scoring",
        .. FineTuneOptionTable.All.Where(o => !o.IsSwitch).Select(o => o.Name),
    ];
    private static readonly Regex s_set = new(
        $@"\b(?<set>[Ss])et (?:(?<name>{string.Join('|', s_switches)})(?: to (?<value>true|false))?"
            + $@"|(?<name>{string.Join('|', s_others)})(?: to (?<value>[a-z0-9-]+))?)(?=[\s.,;:)]|$)",
        RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture
    );

    internal static string Translate(string message) => s_set.Replace(message, m =>
        {
            var value = m.Groups["value"] is { Success: true, Value: not "true" } given ? " " + given.Value : "";
            return $"{(m.Groups["set"].Value == "S" ? "Use" : "use")} --{m.Groups["name"].Value}{value}";
        });
}
