using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// N rows, I inputs, O outputs, r rank

/// <summary>The frozen or trained matrix of a linear layer in one of its forms: dense, or quantised.</summary>
public interface IProjection
{
    /// <summary>x Wᵀ + b for rows x [N, I]; differentiable in x.</summary>
    Tensor Forward(Tensor rows);

    /// <summary>Adds the gradients of its own trained weights and returns g W, [N, I].</summary>
    /// <param name="rows">x [N, I], as given to <see cref="Forward"/>.</param>
    /// <param name="gradient">g [N, O], gradient of the output.</param>
    Tensor Backward(Tensor rows, Tensor gradient);

    /// <summary>W [O, I] in fp32, a copy: for merging and export.</summary>
    Tensor ToDense();
}

/// <summary>A trained update that is added to a projection's output: LoRA.</summary>
public interface ILinearUpdate
{
    /// <summary>Adds the update's output for <paramref name="rows"/> [N, I] to <paramref name="output"/> [N, O] in place; differentiable.</summary>
    void AddTo(Tensor output, Tensor rows);

    /// <summary>Adds the gradients of its weights, and its part of the input's gradient to <paramref name="inputGradient"/> [N, I] in place.</summary>
    void Backward(Tensor rows, Tensor gradient, Tensor inputGradient);

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
    public long OutputSize { get; } = outputSize;

    /// <summary>The matrix.</summary>
    public IProjection Projection { get; set; } = projection;

    /// <summary>The low-rank update, if one is attached.</summary>
    public ILinearUpdate? Update { get; set; }

    /// <summary>[..., I] -> [..., O].</summary>
    public Tensor Forward(Tensor input)
    {
        var shape = input.shape;
        if (shape[^1] != InputSize)
            throw new ShapeException($"{Name} takes rows of {InputSize} numbers; seen [{string.Join(", ", shape)}].");
        using var scope = NewDisposeScope();
        var rows = input.reshape(-1, InputSize);
        var output = Projection.Forward(rows);
        Update?.AddTo(output, rows);
        shape[^1] = OutputSize;
        return output.view(shape).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The backward pass without autograd: adds to the gradients of the trained weights and returns the gradient of the input. The product
    /// itself is not needed, so a layer at the end of a recomputed piece does not have to be run again.
    /// </summary>
    /// <param name="rows">[N, I].</param>
    /// <param name="gradient">[N, O].</param>
    /// <returns>[N, I].</returns>
    public Tensor Backward(Tensor rows, Tensor gradient)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var inputGradient = Projection.Backward(rows, gradient);
        Update?.Backward(rows, gradient, inputGradient);
        return inputGradient.MoveToOuterDisposeScope();
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
    public Tensor Forward(Tensor rows)
    {
        using var scope = NewDisposeScope();
        return nn.functional.linear(rows, Weight.Value.to(rows.dtype), Bias?.Value.to(rows.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor Backward(Tensor rows, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        if (Weight.IsTrained)
            AddProduct(Weight.Gradient(), gradient.t(), rows, 1);
        if (Bias is { IsTrained: true })
            Bias.Gradient().add_(gradient.sum(0, type: ScalarType.Float32));
        return gradient.mm(Weight.Value.to(gradient.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor ToDense() => Weight.Value.detach().to(ScalarType.Float32, copy: true);

    /// <summary>target += scale * a b, in place, for a target of fp32 and factors of any type.</summary>
    internal static void AddProduct(Tensor target, Tensor a, Tensor b, double scale)
    {
        if (a.dtype == target.dtype)
            target.addmm_(a, b, 1, (float)scale);
        else
            target.add_(a.mm(b), scale);
    }
}
