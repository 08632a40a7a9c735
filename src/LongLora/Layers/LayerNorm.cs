using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// y = w · (x - mean(x)) / sqrt(var(x) + ε) + b over the last dimension (arXiv 1607.06450), computed in fp32 for any type of x.
/// </summary>
/// <param name="weight">w [D].</param>
/// <param name="bias">b [D]; null for none.</param>
/// <param name="epsilon">ε.</param>
internal sealed class LayerNorm(Weight weight, Weight? bias, double epsilon) : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights { get; } = bias is null ? [weight] : [weight, bias];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        static Tensor Wide(Tensor value) => value.to(ScalarType.Float32);
        return nn
            .functional.layer_norm(Wide(input), [input.size(-1)], Wide(weight.Value), bias is null ? null : Wide(bias.Value), epsilon)
            .to(input.dtype)
            .MoveToOuterDisposeScope();
    }
}
