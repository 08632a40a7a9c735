using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size

/// <summary>
/// An MLP and a mixture of experts side by side, each between its own norms (Gemma 4). The router reads the residual stream itself.
/// </summary>
internal sealed class SideBySideMlp : FeedForward
{
    /// <summary>The MLP.</summary>
    internal required DenseMlp Dense { get; init; }

    /// <summary>The norm before it.</summary>
    internal required INormLayer DenseNorm { get; init; }

    /// <summary>The norm after it.</summary>
    internal required INormLayer DenseEnd { get; init; }

    /// <summary>The mixture.</summary>
    internal required ExpertMlp Experts { get; init; }

    /// <summary>The norm before it.</summary>
    internal required INormLayer ExpertNorm { get; init; }

    /// <summary>The norm after it.</summary>
    internal required INormLayer ExpertEnd { get; init; }

    /// <summary>What the router is shown of the residual stream: [N, D] -> [N, D], differentiable.</summary>
    internal required Func<Tensor, Tensor> Show { get; init; }

    /// <inheritdoc/>
    public override long Width => Math.Max(Dense.Width, Experts.Width);

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Outputs => [.. Dense.Outputs, .. Experts.Outputs];

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Inputs => [.. Dense.Inputs, .. Experts.Inputs];

    /// <inheritdoc/>
    public override int NormedOutputCount => 2;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor input, KeptTile kept = default)
    {
        using var scope = NewDisposeScope();
        var rows = input.reshape(-1, input.size(-1));
        var mixed = ExpertEnd.Forward(Experts.Mix(ExpertNorm.Forward(rows), Show(rows), kept));
        return DenseEnd
            .Forward(Dense.Forward(DenseNorm.Forward(rows), kept))
            .add(mixed, Scalars.One)
            .view(input.shape)
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Backward(Tensor input, Tensor gradient, BranchEnd branch, KeptTile kept = default)
    {
        using var scope = NewDisposeScope();
        var own = branch.Backward(() => Forward(input, kept), gradient);
        var sum = DenseNorm.Backward(input, Dense.Backward(DenseNorm.Forward(input), own, new BranchEnd(DenseEnd), kept));
        var leaf = input.detach().requires_grad_(true);
        Tensor shown;
        using (enable_grad())
            shown = Show(leaf);
        // The router's choices are those of the forward pass to the bit, which autograd's operators do not always give.
        var (rows, routerRows) = (ExpertNorm.Forward(input), Show(input));
        var ofMixture = new BranchEnd(ExpertEnd).Backward(() => Experts.Mix(rows, routerRows, kept), own);
        var (ofRows, ofShown) = Experts.BackwardMix(rows, routerRows, ofMixture, kept);
        shown.backward([ofShown]);
        return sum.add_(ExpertNorm.Backward(input, ofRows), Scalars.One).add_(leaf.grad!, Scalars.One).MoveToOuterDisposeScope();
    }
}
