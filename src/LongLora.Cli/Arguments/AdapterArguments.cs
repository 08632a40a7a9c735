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

    private readonly Option<bool> _missing = new("--allow-missing")
    {
        Description = "load an adapter without parts that its config names and its files lack",
    };

    internal void AddTo(Command command)
    {
        command.Options.Add(_context);
        command.Options.Add(_keep);
        command.Options.Add(_missing);
    }

    internal AdapterReading Read(ParseResult parsed) =>
        new()
        {
            Context = parsed.GetValue(_context),
            KeepVocabulary = parsed.GetValue(_keep),
            AllowMissing = parsed.GetValue(_missing),
        };

    /// <summary>Tells of the parts that an adapter was loaded without.</summary>
    internal static void Tell(AdapterSet? set, TextWriter output)
    {
        if (set is { Missing: { Count: > 0 } missing })
            output.WriteLine($"Not in the adapter's files, so the base's are used: {string.Join(", ", missing)}.");
    }
}
