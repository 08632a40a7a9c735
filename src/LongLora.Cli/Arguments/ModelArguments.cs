using System.CommandLine;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Quantization;

namespace LongLora.Cli.Arguments;

/// <summary>The options of every command that opens a model.</summary>
/// <param name="hasAdapter">Whether there is <c>--adapter</c> for one adapter; a command with several has its own.</param>
internal sealed class ModelArguments(bool hasAdapter = true)
{
    private readonly ModelOption _model = new();
    private readonly AdapterOption _adapter = new();
    private readonly AdapterArguments _reading = new();
    private readonly DeviceOption _device = new();
    private readonly QuantizationOption _quantization = new(QuantizationKind.None);

    internal void AddTo(Command command)
    {
        command.Options.Insert(0, _model);
        if (hasAdapter)
            command.Options.Insert(1, _adapter);
        _reading.AddTo(command);
        command.Options.Add(_quantization);
        command.Options.Add(_device);
    }

    /// <summary>The folders that were given.</summary>
    internal (string Model, string? Adapter) ReadNames(ParseResult parsed) => (parsed.GetValue(_model)!, parsed.GetValue(_adapter));

    /// <summary>The model with tokenizer and chat template.</summary>
    internal ChatModelOptions Read(ParseResult parsed) =>
        new()
        {
            Model = parsed.GetValue(_model)!,
            Adapter = hasAdapter ? parsed.GetValue(_adapter) : null,
            AdapterReading = _reading.Read(parsed),
            Quantization = parsed.GetValue(_quantization),
            Device = parsed.GetValue(_device)!,
        };

    /// <summary>The model with its adapter, on the device that was asked for.</summary>
    internal LoadedModel Load(ParseResult parsed) =>
        Open(
            parsed,
            parsed.GetValue(_model)!,
            new LoadOptions { Adapter = parsed.GetValue(_adapter), AdapterReading = _reading.Read(parsed) }
        );

    /// <summary>A model alone, on the device that was asked for.</summary>
    internal LoadedModel Open(ParseResult parsed, string model, LoadOptions? options = null) =>
        LoadedModel.Open(
            model,
            (options ?? new LoadOptions()) with
            {
                Device = parsed.GetValue(_device)!,
                Quantization = parsed.GetValue(_quantization),
            }
        );
}
