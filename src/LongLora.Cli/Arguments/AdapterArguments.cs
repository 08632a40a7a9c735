using System.CommandLine;
using LongLora.Adapters;
using LongLora.Positions;

namespace LongLora.Cli.Arguments;

/// <summary>Options for what an adapter's files do not specify.</summary>
internal sealed class AdapterArguments
{
    private readonly Option<int?> _context = new("--adapter-context")
    {
        Description = "context that the adapter was trained for; needed for LongLoRA's published files, which do not store it",
        HelpName = "L",
    };
    private readonly Option<string?> _scaling = new("--adapter-scaling")
    {
        Description =
            "with --adapter-context: how positions were rescaled in training, if not linearly: "
            + $"{string.Join(", ", RopeScaling.Kinds.Where(k => k is not ("default" or "linear")))}, {RopeScaling.ByLength}",
        HelpName = "KIND",
    };
    private readonly Option<bool> _keep = new("--keep-vocabulary")
    {
        Description = "ignore embedding rows that the base does not have, such as the one for [PAD]",
    };

    private readonly Option<bool> _missing = new("--allow-missing")
    {
        Description = "load the adapter even if its files lack parts that its config names",
    };

    internal AdapterArguments()
    {
        _scaling.AcceptOnlyFromAmong([.. RopeScaling.Kinds, RopeScaling.ByLength]);
        _scaling.Validators.Add(result =>
        {
            if (result.GetValue(_context) is null)
                result.AddError("--adapter-scaling needs --adapter-context, the context in tokens that the adapter was trained for.");
        });
    }

    internal void AddTo(Command command)
    {
        command.Options.Add(_context);
        command.Options.Add(_scaling);
        command.Options.Add(_keep);
        command.Options.Add(_missing);
    }

    internal AdapterReading Read(ParseResult parsed) =>
        new()
        {
            Context = parsed.GetValue(_context),
            Scaling = parsed.GetValue(_scaling),
            KeepVocabulary = parsed.GetValue(_keep),
            AllowMissing = parsed.GetValue(_missing),
        };

    /// <summary>Warns about what had to be assumed when an adapter was loaded.</summary>
    internal static void Tell(AdapterSet? set, CliContext context)
    {
        if (set is null || !context.Job.Speaks)
            return;
        if (set.Missing.Count > 0)
            context.Error.WriteLine(
                $"Note: the adapter's files lack {string.Join(", ", set.Missing)}. The base model's values are used instead."
            );
        if (set.AssumesLinear)
            context.Error.WriteLine(
                "Note: the adapter's files do not say how positions were rescaled in training. Linear positions are assumed, as in "
                    + "LongLoRA's scripts. If it was another kind, the results are wrong: give it as --adapter-scaling."
            );
    }
}
