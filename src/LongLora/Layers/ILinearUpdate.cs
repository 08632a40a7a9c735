using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// A trained change of a linear layer, such as LoRA. It is given the layer's matrix and says what becomes of it, so that a change may
/// rescale or replace outputs as well as add to them.
/// </summary>
internal interface ILinearUpdate
{
    /// <summary>The changed layer's output for rows x [N, I], or some of its columns; differentiable.</summary>
    Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null);

    /// <summary>Adds the gradients of its own trained weights and of the matrix's, outside autograd.</summary>
    void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null);

    /// <summary>The gradient of the input, [N, I], or some of its columns, outside autograd.</summary>
    Tensor ComputeInputGradient(IProjection projection, Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null);

    /// <summary>The matrix that computes the same without the update: [O, I] in fp32.</summary>
    Tensor Merge(IProjection projection);

    /// <summary>The bias of a merged layer, [O] in fp32; null where the update leaves the layer's own.</summary>
    Tensor? MergeBias(IProjection projection) => null;
}
