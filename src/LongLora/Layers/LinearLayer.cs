using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// N rows, I inputs, O outputs, r rank

/// <summary>Some consecutive features: [Start, Start + Count).</summary>
/// <param name="Start">First feature.</param>
/// <param name="Count">Number of features.</param>
public readonly record struct FeatureSlice(long Start, long Count);

internal static class FeatureSliceExtensions
{
    /// <summary>The part of a tensor that a slice means, along one dimension; all of it for null. A view.</summary>
    internal static Tensor Of(this FeatureSlice? slice, Tensor tensor, int dimension) =>
        slice is { } s ? tensor.narrow(dimension, s.Start, s.Count) : tensor;
}

/// <summary>The frozen or trained matrix of a linear layer in one of its forms: dense, or quantised.</summary>
public interface IProjection
{
    /// <summary>x Wᵀ + b for rows x [N, I], or some of its columns; differentiable in x.</summary>
    /// <param name="rows">x [N, I].</param>
    /// <param name="outputs">Which outputs to compute; null for all.</param>
    Tensor Forward(Tensor rows, FeatureSlice? outputs = null);

    /// <summary>Adds the gradients of its own trained weights: gᵀ x for W.</summary>
    /// <param name="rows">x [N, I], as given to <see cref="Forward"/>.</param>
    /// <param name="gradient">g [N, O], gradient of the output.</param>
    /// <param name="outputs">Which outputs the gradient is of; null for all.</param>
    void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null);

    /// <summary>The gradient g W of the input, [N, I], or some of its columns.</summary>
    /// <param name="gradient">g [N, O].</param>
    /// <param name="inputs">Which inputs to compute; null for all.</param>
    /// <param name="outputs">Which outputs the gradient is of; null for all.</param>
    Tensor InputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null);

    /// <summary>W [O, I] in fp32, a copy: for merging and export.</summary>
    Tensor ToDense();
}

/// <summary>A trained update that is added to a projection's output: LoRA.</summary>
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

    /// <summary>What it adds to W: [O, I] in fp32.</summary>
    Tensor Delta();
}

/// <summary>
/// y = x Wᵀ + b, with an optional low-rank update: the one seam for LoRA, quantised bases, merge and export.
/// </summary>
/// <param name="name">Module name without <c>.weight</c>, such as <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="inputSize">I.</param>
/// <param name="outputSize">O.</param>
/// <param name="projection">The matrix.</param>
public sealed class LinearLayer(string name, long inputSize, long outputSize, IProjection projection)
{
    /// <summary>Module name without <c>.weight</c>, such as <c>model.layers.0.self_attn.q_proj</c>.</summary>
    public string Name { get; } = name;

    /// <summary>I, the size of an input row.</summary>
    public long InputSize { get; } = inputSize;

    /// <summary>O, the size of an output row.</summary>
    public long OutputSize { get; internal set; } = outputSize;

    /// <summary>The matrix.</summary>
    public IProjection Projection { get; set; } = projection;

    /// <summary>The low-rank update, if one is attached.</summary>
    public ILinearUpdate? Update { get; set; }

    /// <summary>[..., I] -> [..., O], or the outputs of a slice.</summary>
    public Tensor Forward(Tensor input, FeatureSlice? outputs = null)
    {
        var shape = input.shape;
        if (shape[^1] != InputSize)
            throw new ShapeException($"{Name} takes rows of {InputSize} numbers; seen [{string.Join(", ", shape)}].");
        if (outputs is { Start: 0, Count: var count } && count == OutputSize)
            outputs = null;
        using var scope = NewDisposeScope();
        var rows = shape.Length == 2 ? input : input.reshape(-1, InputSize);
        var output = Projection.Forward(rows, outputs);
        Update?.AddTo(output, rows, outputs);
        shape[^1] = outputs?.Count ?? OutputSize;
        return (shape.Length == 2 ? output : output.view(shape)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Adds the gradients of the trained weights for rows x [N, I] and the gradient g [N, O] of the output, or of some outputs.
    /// </summary>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        Projection.AccumulateGradients(rows, gradient, outputs);
        Update?.AccumulateGradients(rows, gradient, outputs);
    }

    /// <summary>
    /// The gradient of the input for the output's gradient g [N, O], without autograd: the output itself is not needed, so a layer at the
    /// end of a recomputed piece is not run again.
    /// </summary>
    /// <param name="gradient">g [N, O].</param>
    /// <param name="inputs">Which inputs; null for all.</param>
    /// <param name="outputs">Which outputs the gradient is of; null for all.</param>
    /// <returns>[N, I], or the columns of the slice.</returns>
    public Tensor InputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var result = Projection.InputGradient(gradient, inputs, outputs);
        Update?.AddInputGradient(gradient, result, inputs, outputs);
        return result.MoveToOuterDisposeScope();
    }
}

/// <summary>A matrix in its stored type, widened or narrowed to the type of the input where it is used.</summary>
/// <param name="weight">W [O, I].</param>
/// <param name="bias">b [O], or null.</param>
public sealed class DenseProjection(Weight weight, Weight? bias = null) : IProjection
{
    /// <summary>W [O, I].</summary>
    public Weight Weight { get; } = weight;

    /// <summary>b [O], or null.</summary>
    public Weight? Bias { get; } = bias;

    /// <inheritdoc/>
    public Tensor Forward(Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        Tensor Used(Tensor value) => outputs.Of(value, 0).In(rows.dtype);
        return nn.functional.linear(rows, Used(Weight.Value), Bias is null ? null : Used(Bias.Value)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        if (Weight.IsTrained)
            AddProduct(outputs.Of(Weight.Gradient(), 0), gradient.t(), rows, 1);
        if (Bias is { IsTrained: true })
            outputs.Of(Bias.Gradient(), 0).add_(gradient.sum(0, type: ScalarType.Float32), Scalars.One);
    }

    /// <inheritdoc/>
    public Tensor InputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var used = outputs.Of(inputs.Of(Weight.Value, 1), 0);
        return gradient.mm(used.In(gradient.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor ToDense() => Weight.Value.detach().to(ScalarType.Float32, copy: true);

    /// <summary>target += scale * a b, in place, for a target of fp32 and factors of any type.</summary>
    internal static void AddProduct(Tensor target, Tensor a, Tensor b, double scale)
    {
        if (a.dtype == target.dtype)
            target.addmm_(a, b, 1, (float)scale);
        else
            target.add_(a.mm(b), Scalars.Of(scale));
    }
}
