using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size

/// <summary>The MLP of a decoder block, dense or a mixture of experts: each token alone.</summary>
internal abstract class FeedForward
{
    /// <summary>Numbers of a row at its widest: how many rows are worked on at once follows from it.</summary>
    public abstract long Width { get; }

    /// <summary>Its layers that write into the residual stream; their outputs are not computed again in the backward pass.</summary>
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
