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

    /// <summary>
    /// The gradients of <see cref="Activate"/>'s arguments for that of its result, outside autograd. It also adds those of the function's
    /// own weights.
    /// </summary>
    internal virtual IReadOnlyList<Tensor> Differentiate(IReadOnlyList<Tensor> outputs, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        IReadOnlyList<Tensor> leaves = [.. outputs.Select(o => o.detach().requires_grad_(true))];
        using (enable_grad())
            Activate(leaves).backward([gradient]);
        return [.. leaves.Select(leaf => leaf.grad!.MoveToOuterDisposeScope())];
    }

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
    public override Tensor Backward(Tensor input, Tensor gradient, BranchEnd branch, KeptTile kept = default)
    {
        using var scope = NewDisposeScope();
        var outputs = RunInputs(input, kept);
        var activated = Output.IsTrained ? Activate(outputs) : null;
        var own = branch.Backward(
            () => kept.Recall(ActivationKinds.MlpOutput, this, () => Project(activated ?? Activate(outputs))),
            gradient
        );
        Accumulate(activated, own);
        return BackwardInputs(input, outputs, Output.ComputeInputGradient(own)).MoveToOuterDisposeScope();
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
        var outputs = RunInputs(input, kept);
        var activated = Activate(outputs);
        // g · (a Wᵀ + b) = a · (g W) + g · b: the output itself is not needed.
        var inner = Output.ComputeInputGradient(gradient);
        var ofWeights = activated.mul(inner).sum(1, type: ScalarType.Float32);
        if (StackedBias is { } bias)
            ofWeights.add_(
                // Not mv, whose rows differ in the last bit with their number.
                gradient.to(ScalarType.Float32).mul(bias.Biases.Value.detach()[bias.Index].to(ScalarType.Float32)).sum(1),
                Scalars.One
            );
        Accumulate(activated, gradient.mul(weights));
        return (BackwardInputs(input, outputs, inner.mul(weights)).MoveToOuterDisposeScope(), ofWeights.MoveToOuterDisposeScope());
    }

    private Tensor[] RunInputs(Tensor input, KeptTile kept) =>
        RunInputsOfToken(input) ?? [.. Inputs.Select(layer => kept.Run(ActivationKinds.MlpInputs, layer, () => input))];

    // All at once, in passes that keep nothing; null if it is more than a token, or anything but numbers in memory.
    private Tensor[]? RunInputsOfToken(Tensor input)
    {
        if (Inputs.Count == 1 || !SmallWork.Fits(input))
            return null;
        var shape = input.shape[..^1];
        return LinearLayer.ForwardRow(input, [.. Inputs.Select(layer => new RowOutputs(layer, null, [.. shape, layer.OutputSize]))]);
    }

    // The gradient of the rows [N, D] from that of the activation [N, F]. It also adds the gradients of the layers' weights.
    private Tensor BackwardInputs(Tensor rows, IReadOnlyList<Tensor> outputs, Tensor activationGradient)
    {
        using var scope = NewDisposeScope();
        Tensor? sum = null;
        foreach (var (layer, gradient) in Inputs.Zip(Differentiate(outputs, activationGradient)))
        {
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

    // The activation is only needed for what is trained.
    private void Accumulate(Tensor? activated, Tensor gradient)
    {
        if (Output.IsTrained)
            Output.AccumulateGradients(activated!, gradient);
        if (StackedBias is { Biases.IsTrained: true } bias)
            bias.Biases.GetGradient()[bias.Index].add_(gradient.sum(0, type: ScalarType.Float32), Scalars.One);
    }
}
