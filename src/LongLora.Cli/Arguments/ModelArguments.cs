using System.CommandLine;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Cli.Commands;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Cli.Arguments;

/// <summary>The options of every command that opens a model.</summary>
internal sealed class ModelArguments
{
    private readonly Option<string> _model = new("--model")
    {
        Description = "folder of a Hugging Face model",
        HelpName = "DIR",
        Required = true,
    };
    private readonly Option<string> _adapter = new("--adapter") { Description = "folder of a PEFT adapter on it", HelpName = "DIR" };
    private readonly AdapterArguments _reading = new();
    private readonly Option<string> _device = new("--device")
    {
        Description = "auto, cpu, cuda or cuda:N [default: auto]",
        HelpName = "NAME",
        DefaultValueFactory = _ => "auto",
    };
    private readonly Option<QuantizationKind> _quantization = QuantizeCommand.QuantizationOption(QuantizationKind.None);

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
        return ModelLoader.Load(folder.Config, folder, Devices.Parse(parsed.GetValue(_device)!), parsed.GetValue(_quantization));
    }
}
