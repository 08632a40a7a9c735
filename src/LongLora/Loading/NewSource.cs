using LongLora.Configs;
using LongLora.Models;
using LongLora.Quantization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>A config whose weights are drawn at random.</summary>
internal sealed class NewSource(ModelConfig config, long seed, ScalarType type, string? tokenizer) : ModelSource
{
    public override string Name => $"new {config.ModelType}";

    public override string Location => tokenizer ?? Name;

    public override ModelConfig Config => config;

    private protected override string? TextFolder => tokenizer;

    internal override CausalLanguageModel Build(ModelConfig changed, Device device, QuantizationKind quantization) =>
        ModelLoader.Create(changed, seed, device, quantization, type);
}
