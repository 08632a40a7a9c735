using System.CommandLine;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary><c>--output</c>: the file or folder that a command makes.</summary>
internal sealed class OutputOption : Option<string>
{
    internal OutputOption(string description, bool isRequired = true, string helpName = "DIR")
        : base("--output") => (Description, Required, HelpName) = (description, isRequired, helpName);

    /// <summary>A folder that must not be there yet, or be empty.</summary>
    internal static OutputOption CreateForNewFolder() => new("output folder; must be new or empty");

    /// <summary>A folder with a name that it has when none is given.</summary>
    internal static OutputOption CreateWithDefault(string description, string standard) =>
        new(description, isRequired: false) { DefaultValueFactory = _ => standard };

    /// <summary>The folder that was given.</summary>
    /// <exception cref="ConfigurationException">There is something in it.</exception>
    internal string ReadNewFolder(ParseResult parsed)
    {
        var folder = parsed.GetValue(this)!;
        return !Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any()
            ? folder
            : throw new ConfigurationException($"The output '{folder}' is not empty. Choose another folder.");
    }
}
