using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A normalization over the last dimension.</summary>
internal interface INormLayer
{
    /// <summary>[..., D] -> [..., D], of the input's type.</summary>
    Tensor Forward(Tensor input);

    /// <summary>Its weights.</summary>
    IReadOnlyList<Weight> Weights { get; }
}
