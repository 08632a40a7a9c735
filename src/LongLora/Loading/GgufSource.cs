using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Tokenization;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>A GGUF file, or the parts of a split one.</summary>
internal sealed class GgufSource(string path, string? name = null) : ModelSource
{
    private readonly GgufModel _file = GgufModel.Open(path);

    public override string Name => name ?? Path.GetFileNameWithoutExtension(path);

    public override string Location => path;

    public override ModelConfig Config => _file.Config;

    internal override IModelFiles Files => _file;

    internal override IReadOnlyList<string> TextFiles => [];

    internal override string? TextDigest => _file.Vocabulary?.ComputeDigest();

    internal override IReadOnlyList<int> FurtherEnds => _file.EndTokenIds;

    private protected override ITokenizer? ReadTokenizer() => _file.Tokenizer;

    private protected override ChatTemplate? ReadTemplate() =>
        _file.ChatTemplate is { } template ? ChatTemplate.Parse(template, path) : null;

    internal override QuantizationKind ChooseQuantization(Device device) =>
        device.type == DeviceType.CPU ? QuantizationKind.Keep : QuantizationKind.None;

    // Opens the file again for each network, which closes it when it is disposed.
    internal override CausalLanguageModel Build(ModelConfig config, Device device, QuantizationKind quantization, ICommunicator? among)
    {
        var weights = GgufModel.Open(path);
        try
        {
            return ModelLoader.Load(config, weights.Weights, device, quantization, among);
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }
}
