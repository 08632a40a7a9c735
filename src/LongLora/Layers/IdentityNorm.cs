using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Used if other families have a norm here and this one has none.</summary>
internal sealed class IdentityNorm : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights => [];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input) => input.alias();

    /// <inheritdoc/>
    public Tensor Backward(Tensor input, Tensor gradient) => gradient.alias();
}
