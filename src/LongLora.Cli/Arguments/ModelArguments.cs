using System.CommandLine;
using LongLora.Distributed;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;

namespace LongLora.Cli.Arguments;

/// <summary>Options of every command that opens a model.</summary>
internal sealed class ModelArguments
{
    private readonly ModelOption _model = new();
    private readonly AdapterOption _adapter = new();
    private readonly AdapterArguments _reading = new();
    private readonly DeviceOption _device = new();
    private readonly QuantizationOption _quantization = new(null);
    private readonly ComputeOption? _compute;
    private readonly PositionArguments? _positions;
    private readonly bool _withAdapter;

    /// <param name="withPositions">Whether positions can be rescaled for the command.</param>
    /// <param name="withCompute">Whether the number format can be chosen.</param>
    /// <param name="withAdapter">Whether there is <c>--adapter</c> for one adapter; a command with several has its own.</param>
    internal ModelArguments(bool withPositions = false, bool withCompute = false, bool withAdapter = true) =>
        (_positions, _compute, _withAdapter) = (
            withPositions ? new PositionArguments() : null,
            withCompute ? new ComputeOption() : null,
            withAdapter
        );

    internal void AddTo(Command command)
    {
        command.Options.Insert(0, _model);
        if (_withAdapter)
            command.Options.Insert(1, _adapter);
        _reading.AddTo(command);
        _positions?.AddTo(command);
        command.Options.Add(_quantization);
        command.Options.Add(_device);
        if (_compute is not null)
            command.Options.Add(_compute);
    }

    /// <summary>The given folders.</summary>
    internal (string Model, string? Adapter) ReadNames(ParseResult parsed) => (parsed.GetValue(_model)!, parsed.GetValue(_adapter));

    /// <summary>The model with tokenizer and chat template.</summary>
    internal ChatModelOptions Read(ParseResult parsed) =>
        new()
        {
            Model = parsed.GetValue(_model)!,
            Adapter = _withAdapter ? parsed.GetValue(_adapter) : null,
            AdapterReading = _reading.Read(parsed),
            Quantization = parsed.GetValue(_quantization),
            Device = parsed.GetValue(_device)!,
        };

    /// <summary>The model with its adapter, on the requested device.</summary>
    internal LoadedModel Load(ParseResult parsed, CliContext context)
    {
        var options = new LoadOptions { Adapter = parsed.GetValue(_adapter), AdapterReading = _reading.Read(parsed) };
        var source = ModelSource.Open(parsed.GetValue(_model)!);
        _positions?.RequireLonger(parsed, () => RopeScaling.GetCurrentContext(LoadedModel.DecideConfig(source.Config, options)));
        var loaded = Open(parsed, source, _positions?.Read(parsed, options) ?? options);
        AdapterArguments.Tell(loaded.Adapter, context);
        return loaded;
    }

    /// <summary>The same on each rank of a job.</summary>
    internal LoadedModel Load(ParseResult parsed, CliContext context, ICommunicator ranks)
    {
        LoadedModel? loaded = null;
        ranks.OnAll("opening the model", () => loaded = Load(parsed, context));
        return loaded!;
    }

    /// <summary>A model without an adapter, on the requested device.</summary>
    internal LoadedModel Open(ParseResult parsed, string model) => Open(parsed, ModelSource.Open(model), new LoadOptions());

    private LoadedModel Open(ParseResult parsed, ModelSource source, LoadOptions options)
    {
        var loaded = LoadedModel.Open(
            source,
            options with
            {
                Device = parsed.GetValue(_device)!,
                Quantization = parsed.GetValue(_quantization),
                Compute = _compute is null ? null : parsed.GetValue(_compute),
            }
        );
        // A command that chooses the format measures, and writes no weights.
        if (_compute is not null)
            ProductWeights.HoldFrozen(loaded.Network);
        return loaded;
    }
}
