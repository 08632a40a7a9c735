using System.CommandLine;

namespace LongLora.Cli.Arguments;

/// <summary>A whole number of things, with a least one.</summary>
internal sealed class CountOption(string name, int least = 1) : Option<int>(name)
{
    /// <summary>The least that is accepted.</summary>
    internal int Least => least;
}
