using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary><c>--picture</c>: a .png file for a chart of the results.</summary>
internal sealed class PictureOption : Option<string>
{
    internal PictureOption(string what)
        : base("--picture") => (Description, HelpName) = ($"also draw {what} to this .png", "FILE");
}
