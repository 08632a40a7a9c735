using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size, F MLP size

/// <summary>An MLP for every token: something up to a width F, and an output projection.</summary>
internal abstract class DenseMlp : FeedForward
{
    /// <summary>[.., F] -> [.., D].</summary>
    internal required LinearLayer Output { get; init; }

    /// <summary>The output's bias [E, D] and the index of the row, if the experts store it in one tensor; null for none.</summary>
    internal (Weight Biases, int Index)? StackedBias { get; init; }

    /// <inheritdoc/>
    public override long Width => Output.InputSize;

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Outputs => [Output];

    /// <summary>[.., D] -> [.., F]; differentiable.</summary>
    internal abstract Tensor Activate(Tensor input);

    /// <inheritdoc/>
    public override Tensor Forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        return Project(Activate(input)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override void Backward(Tensor input, Tensor gradient, BranchEnd branch)
    {
        Tensor activated;
        using (enable_grad())
            activated = Activate(input); // [N, D] -> [N, F]
        var own = branch.Backward(() => Project(activated.detach()), gradient);
        Accumulate(activated.detach(), own);
        activated.backward([Output.ComputeInputGradient(own)]);
    }

    /// <summary>Like <see cref="Backward"/>, for an expert whose output is multiplied by a weight per row.</summary>
    /// <param name="input">[N, D], a leaf.</param>
    /// <param name="gradient">[N, D], of the weighted output.</param>
    /// <param name="weights">[N, 1].</param>
    /// <returns>[N], the gradient of the weights.</returns>
    internal Tensor BackwardWeighted(Tensor input, Tensor gradient, Tensor weights)
    {
        using var scope = NewDisposeScope();
        Tensor activated;
        using (enable_grad())
            activated = Activate(input);
        // g · (a Wᵀ + b) = a · (g W) + g · b: the output itself is not needed.
        var inner = Output.ComputeInputGradient(gradient);
        var result = activated.detach().mul(inner).sum(1, type: ScalarType.Float32);
        if (StackedBias is { } bias)
            result.add_(
                // Not mv, whose rows differ in the last bit with their number.
                gradient.to(ScalarType.Float32).mul(bias.Biases.Value.detach()[bias.Index].to(ScalarType.Float32)).sum(1),
                Scalars.One
            );
        Accumulate(activated.detach(), gradient.mul(weights));
        activated.backward([inner.mul(weights)]);
        return result.MoveToOuterDisposeScope();
    }

    private Tensor Project(Tensor activated)
    {
        var output = Output.Forward(activated);
        return StackedBias is { } bias ? output.add(bias.Biases.Value[bias.Index].In(output.dtype), Scalars.One) : output;
    }

    private void Accumulate(Tensor activated, Tensor gradient)
    {
        Output.AccumulateGradients(activated, gradient);
        if (StackedBias is { Biases.IsTrained: true } bias)
            bias.Biases.GetGradient()[bias.Index].add_(gradient.sum(0, type: ScalarType.Float32), Scalars.One);
    }
}
