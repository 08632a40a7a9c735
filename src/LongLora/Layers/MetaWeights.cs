using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Names and shapes without memory: what a config describes, for any size.</summary>
internal sealed class MetaWeights : WeightSource
{
    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape) => empty(shape, ScalarType.Float32, META);
}
