using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size

/// <summary>The MLP of a decoder block, dense or a mixture of experts, which treats each token alone.</summary>
internal abstract class FeedForward
{
    /// <summary>The most numbers per row; this determines how many rows are computed at once.</summary>
    public abstract long Width { get; }

    /// <summary>Its layers that write into the residual stream; the backward pass does not recompute their outputs.</summary>
    public abstract IReadOnlyList<LinearLayer> Outputs { get; }

    /// <summary>[.., D] -> [.., D]; differentiable.</summary>
    public abstract Tensor Forward(Tensor input);

    /// <summary>
    /// Passes the gradient of what the branch adds to the residual stream on to <paramref name="input"/>, and adds the gradients of the
    /// weights.
    /// </summary>
    /// <param name="input">[N, D], inside a graph.</param>
    /// <param name="gradient">[N, D].</param>
    /// <param name="branch">What happens to the output before it is added.</param>
    public abstract void Backward(Tensor input, Tensor gradient, BranchEnd branch);
}
