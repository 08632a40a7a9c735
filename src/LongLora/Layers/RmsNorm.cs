using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>y = w · x / sqrt(mean(x²) + ε) over the last dimension (arXiv 1910.07467), computed in fp32 for any type of x.</summary>
/// <param name="weight">w [D].</param>
/// <param name="epsilon">ε.</param>
public sealed class RmsNorm(Weight weight, double epsilon) : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights { get; } = [weight];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var wide = input.In(ScalarType.Float32);
        var scale = (wide * wide).mean([-1], keepdim: true).add_(Scalars.Of(epsilon), Scalars.One).rsqrt_();
        return (wide * scale).mul(weight.Value.In(ScalarType.Float32)).In(input.dtype).MoveToOuterDisposeScope();
    }
}
