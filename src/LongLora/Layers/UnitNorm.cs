using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>y = x / sqrt(mean(x²) + ε) over the last dimension: an RMSNorm without a weight, computed in fp32.</summary>
/// <param name="epsilon">ε.</param>
internal sealed class UnitNorm(double epsilon) : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights => [];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var wide = input.In(ScalarType.Float32);
        var scale = (wide * wide).mean([-1], keepdim: true).add_(Scalars.Of(epsilon), Scalars.One).rsqrt_();
        return (wide * scale).In(input.dtype).MoveToOuterDisposeScope();
    }
}
