using System.CommandLine;
using LongLora.Loading;
using LongLora.Positions;
using LongLora.Runtime;

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
            else if (result.GetValue(_kind) == "default")
                result.AddError("--rope-scaling is default, which does not rescale, so --extend-to has no effect. Leave out both.");
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

    /// <summary>Refuses a context that the model has without being rescaled.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="present">The model's context, with its adapter.</param>
    /// <exception cref="ConfigurationException">Nothing would be rescaled.</exception>
    internal void RequireLonger(ParseResult parsed, Func<int> present)
    {
        if (parsed.GetValue(_context) is { } context && present() is var own && context <= own)
            throw new ConfigurationException(
                $"--extend-to is {context}, but the model already has {own} tokens. Give more than {own}, or leave it out."
            );
    }
}
