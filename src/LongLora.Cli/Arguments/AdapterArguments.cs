using System.CommandLine;
using LongLora.Adapters;

namespace LongLora.Cli.Arguments;

/// <summary>The options that tell what the files of an adapter leave open.</summary>
internal sealed class AdapterArguments
{
    private readonly Option<int?> _context = new("--adapter-context")
    {
        Description = "context that the adapter was trained for, where its files do not say (LongLoRA's own)",
        HelpName = "L",
    };
    private readonly Option<bool> _keep = new("--keep-vocabulary")
    {
        Description = "leave embedding rows aside that the base does not have, such as that of [PAD]",
    };

    internal void AddTo(Command command)
    {
        command.Options.Add(_context);
        command.Options.Add(_keep);
    }

    internal AdapterReading Read(ParseResult parsed) =>
        new() { Context = parsed.GetValue(_context), KeepVocabulary = parsed.GetValue(_keep) };
}
