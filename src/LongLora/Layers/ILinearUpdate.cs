using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A trained update that is added to a projection's output, such as LoRA.</summary>
public interface ILinearUpdate
{
    /// <summary>
    /// Adds the update's output for <paramref name="rows"/> [N, I] to <paramref name="output"/> in place; differentiable.
    /// </summary>
    void AddTo(Tensor output, Tensor rows, FeatureSlice? outputs = null);

    /// <summary>Adds the gradients of its weights.</summary>
    void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null);

    /// <summary>Adds its part of the input's gradient to <paramref name="inputGradient"/> in place.</summary>
    void AddInputGradient(Tensor gradient, Tensor inputGradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null);

    /// <summary>The change that it makes to W: [O, I] in fp32.</summary>
    Tensor Delta();
}
