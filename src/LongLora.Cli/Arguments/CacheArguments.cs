using System.CommandLine;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary>Options for the key-value cache: size, number format, and which tokens to keep.</summary>
internal sealed class CacheArguments
{
    private readonly Option<int?> _context = new("--context")
    {
        Description = "maximum tokens of prompt and answer together [default: the model's context]",
        HelpName = "N",
    };
    private readonly CacheTypeOption _type = new();
    private readonly Option<bool> _streaming = new("--streaming")
    {
        Description = "keep only the first and the last tokens: endless text in constant memory",
    };
    private readonly Option<int> _sinks = new("--sink-tokens")
    {
        Description = "with --streaming: number of first tokens to keep",
        HelpName = "N",
        DefaultValueFactory = _ => new StreamingOptions().SinkTokens,
    };
    private readonly Option<int?> _window = new("--window")
    {
        Description = "with --streaming: number of last tokens to keep [default: the rest of the model's context]",
        HelpName = "N",
    };

    internal void AddTo(Command command)
    {
        foreach (var option in new Option[] { _context, _type, _streaming, _sinks, _window })
            command.Options.Add(option);
    }

    /// <summary>Opens a model, and warns about a context that it was not trained for and about what was assumed of its adapter.</summary>
    /// <param name="context">Gets the warnings.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="options">What the model is made of, without what these options say.</param>
    /// <param name="beside">A model that shares its queue; null for none.</param>
    internal ChatModel Open(CliContext context, ParseResult parsed, ChatModelOptions options, ChatModel? beside = null)
    {
        options = options with
        {
            Context = parsed.GetValue(_context),
            CacheType = parsed.GetValue(_type),
            Streaming = ReadStreaming(parsed),
        };
        var model = beside is null ? ChatModel.Open(options) : beside.OpenBeside(options);
        AdapterArguments.Tell(model.Adapter, context);
        if (parsed.GetValue(_context) > model.TrainedContext && !parsed.GetValue(_streaming))
            context.Error.WriteLine(
                $"Note: {model.Name} was trained for {model.TrainedContext:N0} tokens. Beyond that, models produce nonsense. "
                    + "Extend the context with longlora train, or use --streaming, which forgets the middle."
            );
        return model;
    }

    private StreamingOptions? ReadStreaming(ParseResult parsed)
    {
        if (parsed.GetValue(_streaming))
            return new StreamingOptions { SinkTokens = parsed.GetValue(_sinks), Window = parsed.GetValue(_window) };
        if (parsed.GetValue(_window) is not null || parsed.GetResult(_sinks) is { Implicit: false })
            throw new ConfigurationException("--window and --sink-tokens work only with --streaming. Add --streaming, or remove them.");
        return null;
    }
}
