using System.CommandLine;
using LongLora.Loading;
using LongLora.Positions;

namespace LongLora.Cli.Arguments;

/// <summary>The options that rescale the positions of a model for a measure, without training.</summary>
internal sealed class PositionArguments
{
    private readonly Option<int?> _context = new("--extend-to")
    {
        Description = "rescale positions for this many tokens, without training: what training begins with",
        HelpName = "L",
    };
    private readonly Option<string?> _kind = new("--rope-scaling")
    {
        Description = $"with --extend-to: how, as in train: auto, {string.Join(", ", RopeScaling.Kinds)}, {RopeScaling.ByLength}",
        HelpName = "KIND",
    };

    internal PositionArguments() =>
        _kind.Validators.Add(result =>
        {
            if (result.GetValue(_context) is null)
                result.AddError("--rope-scaling needs --extend-to, the context in tokens to rescale positions for.");
        });

    internal void AddTo(Command command)
    {
        command.Options.Add(_context);
        command.Options.Add(_kind);
    }

    internal LoadOptions Read(ParseResult parsed, LoadOptions options) =>
        parsed.GetValue(_context) is { } context
            ? options with
            {
                Context = context,
                RopeScaling = parsed.GetValue(_kind) ?? options.RopeScaling,
            }
            : options;
}
