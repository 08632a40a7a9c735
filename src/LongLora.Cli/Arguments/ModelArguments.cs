using System.CommandLine;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Tokenization;

namespace LongLora.Cli.Arguments;

/// <summary>The options of every command that opens a model.</summary>
internal sealed class ModelArguments
{
    private readonly ModelOption _model = new();
    private readonly AdapterOption _adapter = new();
    private readonly AdapterArguments _reading = new();
    private readonly DeviceOption _device = new();
    private readonly QuantizationOption _quantization = new(QuantizationKind.None);

    internal void AddTo(Command command)
    {
        command.Options.Insert(0, _model);
        command.Options.Insert(1, _adapter);
        _reading.AddTo(command);
        command.Options.Add(_quantization);
        command.Options.Add(_device);
    }

    /// <summary>The folders that were given.</summary>
    internal (string Model, string? Adapter) Names(ParseResult parsed) => (parsed.GetValue(_model)!, parsed.GetValue(_adapter));

    /// <summary>The model with tokenizer and chat template.</summary>
    internal ChatModelOptions Read(ParseResult parsed) =>
        new()
        {
            Model = parsed.GetValue(_model)!,
            Adapter = parsed.GetValue(_adapter),
            AdapterReading = _reading.Read(parsed),
            Quantization = parsed.GetValue(_quantization),
            Device = parsed.GetValue(_device)!,
        };

    internal CausalLanguageModel Load(ParseResult parsed, out ITokenizer? tokenizer, out AdapterSet? adapter)
    {
        var path = parsed.GetValue(_model)!;
        if (parsed.GetValue(_adapter) is { } asked)
            PeftFormat.RequireSupported(asked); // before a weight is read
        var model = Open(parsed, path);
        tokenizer = TokenizerLoader.LoadIfPresent(path);
        adapter = parsed.GetValue(_adapter) is { } adapterPath ? PeftFormat.Attach(adapterPath, model, _reading.Read(parsed)) : null;
        return model;
    }

    /// <summary>A model alone, on the device that was asked for.</summary>
    internal CausalLanguageModel Open(ParseResult parsed, string path)
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(folder.Config, folder, _device.Read(parsed), parsed.GetValue(_quantization));
    }
}
