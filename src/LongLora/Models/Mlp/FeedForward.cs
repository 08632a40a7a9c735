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

    /// <summary>The layers that read its input; their outputs are <see cref="ActivationKinds.MlpInputs"/>.</summary>
    public abstract IReadOnlyList<LinearLayer> Inputs { get; }

    /// <summary>How many outputs [N, D] a norm inside it needs again in the backward pass: 0 but for branches side by side.</summary>
    public virtual int NormedOutputCount => 0;

    /// <summary>[.., D] -> [.., D]; differentiable if nothing is kept.</summary>
    /// <param name="input">[.., D].</param>
    /// <param name="kept">What <see cref="Backward"/> need not compute again.</param>
    public abstract Tensor Forward(Tensor input, KeptTile kept = default);

    /// <summary>
    /// The gradient of the input for that of what the branch adds to the residual stream, outside autograd. It also adds the gradients of
    /// the weights.
    /// </summary>
    /// <param name="input">[N, D].</param>
    /// <param name="gradient">[N, D].</param>
    /// <param name="branch">What happens to the output before it is added.</param>
    /// <param name="kept">As given to <see cref="Forward"/>.</param>
    /// <returns>[N, D].</returns>
    public abstract Tensor Backward(Tensor input, Tensor gradient, BranchEnd branch, KeptTile kept = default);
}
