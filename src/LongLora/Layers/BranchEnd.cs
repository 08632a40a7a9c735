using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// N rows, D model size

/// <summary>What is applied to a branch's output before it is added to the residual stream: a norm, a factor, both or nothing.</summary>
/// <param name="Norm">The norm; null for none.</param>
/// <param name="Factor">The factor, after the norm; 1 for none.</param>
internal sealed record BranchEnd(INormLayer? Norm = null, double Factor = 1)
{
    /// <summary>Applies nothing.</summary>
    public static BranchEnd None { get; } = new();

    /// <summary>[.., D] -> [.., D]; differentiable.</summary>
    public Tensor Forward(Tensor output)
    {
        if (Norm is null && Factor == 1)
            return output;
        using var scope = NewDisposeScope();
        var ended = Norm?.Forward(output) ?? output;
        return (Factor == 1 ? ended : ended.mul(Scalars.Of(Factor))).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The gradient of the branch's output for the gradient of its result, outside autograd. It also adds the gradients of the norm's
    /// weights.
    /// </summary>
    /// <param name="output">Computes the output [N, D], which only a norm needs.</param>
    /// <param name="gradient">[N, D].</param>
    /// <returns>[N, D].</returns>
    public Tensor Backward(Func<Tensor> output, Tensor gradient)
    {
        if (Norm is null && Factor == 1)
            return gradient;
        using var scope = NewDisposeScope();
        if (Factor != 1)
            gradient = gradient.mul(Scalars.Of(Factor));
        if (Norm is not null)
            gradient = Norm.Backward(output(), gradient);
        return gradient.MoveToOuterDisposeScope();
    }
}
