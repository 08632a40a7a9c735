using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// y = w · x / sqrt(mean(x²) + ε), or (1 + w) · x / sqrt(mean(x²) + ε), over the last dimension (arXiv 1910.07467), computed in fp32
/// for any type of x.
/// </summary>
/// <param name="weight">w [D].</param>
/// <param name="epsilon">ε.</param>
/// <param name="isOffset">Whether the scale is 1 + w (Gemma).</param>
internal sealed class RmsNorm(Weight weight, double epsilon, bool isOffset = false) : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights { get; } = [weight];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var wide = input.In(ScalarType.Float32);
        var scale = (wide * wide).mean([-1], keepdim: true).add_(Scalars.Of(epsilon), Scalars.One).rsqrt_();
        var factor = weight.Value.In(ScalarType.Float32);
        if (isOffset)
            factor = factor.add(Scalars.One, Scalars.One);
        return (wide * scale).mul(factor).In(input.dtype).MoveToOuterDisposeScope();
    }
}
