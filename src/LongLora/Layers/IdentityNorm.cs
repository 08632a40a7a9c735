using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Where other families have a norm and this one has none.</summary>
internal sealed class IdentityNorm : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights => [];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input) => input.alias();
}
