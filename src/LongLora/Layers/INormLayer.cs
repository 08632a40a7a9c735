using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A normalization over the last dimension.</summary>
internal interface INormLayer
{
    /// <summary>[..., D] -> [..., D], of the input's type.</summary>
    Tensor Forward(Tensor input);

    /// <summary>
    /// The gradient of the input for that of <see cref="Forward"/>'s result, outside autograd. It also adds the gradients of the weights.
    /// </summary>
    /// <param name="input">[..., D].</param>
    /// <param name="gradient">[..., D].</param>
    /// <returns>[..., D].</returns>
    Tensor Backward(Tensor input, Tensor gradient) => BackwardByAutograd(this, input, gradient);

    /// <summary>Its weights.</summary>
    IReadOnlyList<Weight> Weights { get; }

    /// <summary><see cref="Backward"/> for any norm.</summary>
    protected static Tensor BackwardByAutograd(INormLayer norm, Tensor input, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var leaf = input.detach().requires_grad_(true);
        using (enable_grad())
            norm.Forward(leaf).backward([gradient]);
        return leaf.grad!.MoveToOuterDisposeScope();
    }
}
