using System.CommandLine;
using LongLora.Adapters;

namespace LongLora.Cli.Arguments;

/// <summary>Options for what an adapter's files do not specify.</summary>
internal sealed class AdapterArguments
{
    private readonly Option<int?> _context = new("--adapter-context")
    {
        Description = "context that the adapter was trained for; needed for LongLoRA's own layout, which does not store it",
        HelpName = "L",
    };
    private readonly Option<bool> _keep = new("--keep-vocabulary")
    {
        Description = "ignore embedding rows that the base does not have, such as the one for [PAD]",
    };

    private readonly Option<bool> _missing = new("--allow-missing")
    {
        Description = "load the adapter even if its files lack parts that its config names",
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

    /// <summary>Reports the parts that were missing when an adapter was loaded.</summary>
    internal static void Tell(AdapterSet? set, TextWriter output)
    {
        if (set is { Missing: { Count: > 0 } missing })
            output.WriteLine($"The adapter's files lack {string.Join(", ", missing)}. The base model's values are used instead.");
    }
}
