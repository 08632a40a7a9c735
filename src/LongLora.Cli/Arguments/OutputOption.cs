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

    /// <summary>A file that must not exist yet.</summary>
    internal static OutputOption CreateForNewFile() => new("file to write; must not exist", helpName: "FILE");

    /// <summary>A folder with a default name.</summary>
    internal static OutputOption CreateWithDefault(string description, string standard) =>
        new(description, isRequired: false) { DefaultValueFactory = _ => standard };

    /// <summary>The given folder.</summary>
    /// <exception cref="ConfigurationException">The folder is not empty.</exception>
    internal string ReadNewFolder(ParseResult parsed) => RequireNewFolder(parsed.GetValue(this)!);

    /// <summary>Refuses a folder that has files, which might be replaced.</summary>
    /// <exception cref="ConfigurationException">The folder is not empty.</exception>
    internal static string RequireNewFolder(string folder) =>
        !Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any()
            ? folder
            : throw new ConfigurationException($"The output '{folder}' is not empty. Choose another folder.");

    /// <summary>The given file.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="besides">The name of another file that is written for this one; null for none.</param>
    /// <exception cref="ConfigurationException">One of the two exists.</exception>
    internal string ReadNewFile(ParseResult parsed, Func<string, string>? besides = null)
    {
        var file = parsed.GetValue(this)!;
        foreach (var path in besides is null ? [file] : new[] { file, besides(file) })
        {
            if (Path.Exists(path))
                throw new ConfigurationException($"Cannot write '{path}' because it exists. Give another {Name}, or remove it.");
        }
        return file;
    }
}
