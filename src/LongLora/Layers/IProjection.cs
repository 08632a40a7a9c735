using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>The frozen or trained matrix of a linear layer, either dense or quantized.</summary>
internal interface IProjection
{
    /// <summary>b [O], or null.</summary>
    Weight? Bias { get; }

    /// <summary>Whether it has trained weights: if not, <see cref="AccumulateGradients"/> does nothing.</summary>
    bool IsTrained => Bias is { IsTrained: true };

    /// <summary>The tensors that hold the matrix, in the type in which they are stored; none if it stays in a mapped file.</summary>
    IReadOnlyList<StoredTensor> Stored { get; }

    /// <summary>x Wᵀ + b for rows x [N, I], or some of its columns; differentiable in x.</summary>
    /// <param name="rows">x [N, I].</param>
    /// <param name="outputs">Which outputs to compute; null for all.</param>
    Tensor Forward(Tensor rows, FeatureSlice? outputs = null);

    /// <summary>Writes the result of <see cref="Forward"/> into a given tensor; false if it cannot, and nothing is written.</summary>
    /// <param name="rows">x [N, I].</param>
    /// <param name="result">[N, O].</param>
    bool TryForwardInto(Tensor rows, Tensor result) => false;

    /// <summary>
    /// What computes x Wᵀ without the bias, for one row in fp32 on the CPU, between numbers in memory; null if the matrix cannot be read
    /// so.
    /// </summary>
    /// <param name="outputs">Which outputs; null for all.</param>
    RowProduct.OutputWriter? FindRowWriter(FeatureSlice? outputs) => null;

    /// <summary>Adds the gradients of its own trained weights: gᵀ x for W.</summary>
    /// <param name="rows">x [N, I], as given to <see cref="Forward"/>.</param>
    /// <param name="gradient">g [N, O], gradient of the output.</param>
    /// <param name="outputs">Which outputs the gradient belongs to; null for all.</param>
    void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null);

    /// <summary>The gradient g W of the input, [N, I], or some of its columns.</summary>
    /// <param name="gradient">g [N, O].</param>
    /// <param name="inputs">Which inputs to compute; null for all.</param>
    /// <param name="outputs">Which outputs the gradient belongs to; null for all.</param>
    Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null);

    /// <summary>W [O, I] in fp32, a copy: for merging and export.</summary>
    Tensor ToDense();
}
