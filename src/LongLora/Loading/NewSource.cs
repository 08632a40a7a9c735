using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>A config, for which random weights are made.</summary>
internal sealed class NewSource(ModelConfig config, long seed, ScalarType type, string? tokenizer) : ModelSource
{
    public override string Name => $"new {config.ModelType}";

    public override string Location => tokenizer ?? Name;

    public override ModelConfig Config => config;

    internal override ScalarType StoredType => type;

    internal override IReadOnlyList<string> TextFiles => tokenizer is null ? [] : ListTextFiles(tokenizer);

    private protected override ITokenizer? ReadTokenizer() => tokenizer is null ? null : TokenizerLoader.LoadIfPresent(tokenizer);

    private protected override ChatTemplate? ReadTemplate() => tokenizer is null ? null : ChatTemplate.ReadOfModel(tokenizer);

    internal override CausalLanguageModel Build(ModelConfig changed, Device device, QuantizationKind quantization, ICommunicator? among) =>
        ModelLoader.Create(changed, seed, device, quantization, type, among);
}
