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

    /// <summary>The outputs of <see cref="FeedForward.Inputs"/>, in that order -> [.., F]; differentiable.</summary>
    internal abstract Tensor Activate(IReadOnlyList<Tensor> outputs);

    /// <inheritdoc/>
    public override Tensor Forward(Tensor input, KeptTile kept = default) =>
        kept.Recall(ActivationKinds.MlpOutput, this, () => Run(input, kept));

    /// <summary>Like <see cref="Forward"/>, for an expert, whose output itself is never kept.</summary>
    internal Tensor Run(Tensor input, KeptTile kept)
    {
        using var scope = NewDisposeScope();
        return Project(Activate(RunInputs(input, kept))).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override void Backward(Tensor input, Tensor gradient, BranchEnd branch, KeptTile kept = default)
    {
        var rows = input.detach();
        var (outputs, activated) = ActivateAgain(rows, kept);
        var own = branch.Backward(() => kept.Recall(ActivationKinds.MlpOutput, this, () => Project(activated.detach())), gradient);
        Accumulate(activated.detach(), own);
        activated.backward([Output.ComputeInputGradient(own)]);
        input.backward([BackwardInputs(rows, outputs)]);
    }

    /// <summary>Like <see cref="Backward"/>, for an expert whose output is multiplied by a weight per row, outside autograd.</summary>
    /// <param name="input">[N, D].</param>
    /// <param name="gradient">[N, D], of the weighted output.</param>
    /// <param name="weights">[N, 1].</param>
    /// <param name="kept">As given to <see cref="Run"/>.</param>
    /// <returns>[N, D], the gradient of the input, and [N], that of the weights.</returns>
    internal (Tensor Input, Tensor Weights) BackwardWeighted(Tensor input, Tensor gradient, Tensor weights, KeptTile kept)
    {
        using var scope = NewDisposeScope();
        var (outputs, activated) = ActivateAgain(input, kept);
        // g · (a Wᵀ + b) = a · (g W) + g · b: the output itself is not needed.
        var inner = Output.ComputeInputGradient(gradient);
        var ofWeights = activated.detach().mul(inner).sum(1, type: ScalarType.Float32);
        if (StackedBias is { } bias)
            ofWeights.add_(
                // Not mv, whose rows differ in the last bit with their number.
                gradient.to(ScalarType.Float32).mul(bias.Biases.Value.detach()[bias.Index].to(ScalarType.Float32)).sum(1),
                Scalars.One
            );
        Accumulate(activated.detach(), gradient.mul(weights));
        activated.backward([inner.mul(weights)]);
        return (BackwardInputs(input, outputs).MoveToOuterDisposeScope(), ofWeights.MoveToOuterDisposeScope());
    }

    private IReadOnlyList<Tensor> RunInputs(Tensor input, KeptTile kept) =>
        [.. Inputs.Select(layer => kept.Run(ActivationKinds.MlpInputs, layer, () => input))];

    // The graph is that of the activation alone: its leaves are outputs of layers, which need not be computed for their own gradients.
    private (IReadOnlyList<Tensor> Outputs, Tensor Activated) ActivateAgain(Tensor rows, KeptTile kept)
    {
        IReadOnlyList<Tensor> outputs = [.. RunInputs(rows, kept).Select(o => o.detach().requires_grad_(true))];
        using (enable_grad())
            return (outputs, Activate(outputs));
    }

    // The gradient of the rows [N, D] from those of the layers' outputs. It also adds the gradients of the layers' weights.
    private Tensor BackwardInputs(Tensor rows, IReadOnlyList<Tensor> outputs)
    {
        using var scope = NewDisposeScope();
        Tensor? sum = null;
        foreach (var (layer, output) in Inputs.Zip(outputs))
        {
            var gradient = output.grad!;
            layer.AccumulateGradients(rows, gradient);
            var part = layer.ComputeInputGradient(gradient);
            sum = sum?.add_(part, Scalars.One) ?? part;
        }
        return sum!.MoveToOuterDisposeScope();
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
