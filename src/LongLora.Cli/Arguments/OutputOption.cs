using System.CommandLine;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary><c>--output</c>: the file or folder that a command writes.</summary>
internal sealed class OutputOption : Option<string>
{
    internal OutputOption(string description, bool isRequired = true, string helpName = "DIR")
        : base("--output") => (Description, Required, HelpName) = (description, isRequired, helpName);

    /// <summary>A folder that must be new or empty.</summary>
    internal static OutputOption CreateForNewFolder() => new("output folder; must be new or empty");

    /// <summary>A folder with a default name.</summary>
    internal static OutputOption CreateWithDefault(string description, string standard) =>
        new(description, isRequired: false) { DefaultValueFactory = _ => standard };

    /// <summary>The given folder.</summary>
    /// <exception cref="ConfigurationException">The folder is not empty.</exception>
    internal string ReadNewFolder(ParseResult parsed)
    {
        var folder = parsed.GetValue(this)!;
        return !Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any()
            ? folder
            : throw new ConfigurationException($"The output '{folder}' is not empty. Choose another folder.");
    }
}
