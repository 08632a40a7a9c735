using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size, E experts, k chosen ones of each row, n rows of one expert

/// <summary>
/// A mixture of experts: each token goes through k of E small MLPs, and their outputs are added with the router's weights. All rows of an
/// expert are computed together, one expert after the other, so a matrix is dequantized for only one expert at a time.
/// </summary>
/// <param name="router">Chooses the experts.</param>
/// <param name="experts">The experts.</param>
internal sealed class ExpertMlp(ExpertRouter router, IReadOnlyList<DenseMlp> experts) : FeedForward
{
    // libtorch computes the product of a few rows in another way than that of many. Where a pass has many, so has each expert: a token then
    // has the same bits whatever other tokens choose its experts.
    private const long MinRows = 8;

    /// <inheritdoc/>
    public override long Width => experts[0].Width;

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Outputs => [.. experts.SelectMany(e => e.Outputs)];

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Inputs => [.. experts.SelectMany(e => e.Inputs)];

    /// <summary>The most rows of zeros that a tile adds to those of one expert.</summary>
    internal const long MostAddedRows = MinRows - 1;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor input, KeptTile kept = default)
    {
        using var scope = NewDisposeScope();
        var rows = input.reshape(-1, input.size(-1));
        return Mix(rows, rows, kept).view(input.shape).MoveToOuterDisposeScope();
    }

    /// <summary>The experts' sum for <paramref name="rows"/> [N, D], chosen by the router's input [N, D]; differentiable.</summary>
    internal Tensor Mix(Tensor rows, Tensor shown, KeptTile kept) =>
        kept.Recall(ActivationKinds.MlpOutput, this, () => ComputeMix(rows, shown, kept));

    private Tensor ComputeMix(Tensor rows, Tensor shown, KeptTile kept)
    {
        using var scope = NewDisposeScope();
        var (weights, chosen) = router.Route(shown);
        var (flat, result) = (weights.flatten().In(rows.dtype), zeros_like(rows));
        foreach (var (expert, places) in Group(chosen))
        {
            using var inner = NewDisposeScope();
            var output = experts[expert].Run(Select(rows, places.Rows, rows), kept).narrow(0, 0, places.Rows.size(0));
            result.index_add_(0, places.Rows, output.mul(flat.index_select(0, places.Slots).unsqueeze(1)), Scalars.One);
        }
        return result.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Backward(Tensor input, Tensor gradient, BranchEnd branch, KeptTile kept = default)
    {
        using var scope = NewDisposeScope();
        var own = branch.Backward(() => Mix(input, input, kept), gradient);
        var (ofRows, ofShown) = BackwardMix(input, input, own, kept);
        return ofRows.add_(ofShown, Scalars.One).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The gradients of <see cref="Mix"/>'s arguments for the gradient of its result, outside autograd. It also adds the gradients of the
    /// weights.
    /// </summary>
    internal (Tensor Rows, Tensor Shown) BackwardMix(Tensor rows, Tensor shown, Tensor gradient, KeptTile kept)
    {
        using var scope = NewDisposeScope();
        var leaf = shown.detach().requires_grad_(true);
        Tensor weights,
            chosen;
        using (enable_grad())
            (weights, chosen) = router.Route(leaf);
        var flat = weights.detach().flatten().In(rows.dtype);
        var (rowGradient, weightGradient) = (zeros_like(rows), zeros([flat.size(0)], ScalarType.Float32, rows.device));
        foreach (var (expert, places) in Group(chosen))
        {
            using var inner = NewDisposeScope();
            var (ofInput, ofWeights) = experts[expert]
                .BackwardWeighted(
                    Select(rows, places.Rows, rows),
                    Select(gradient, places.Rows, rows),
                    Select(flat.unsqueeze(1), places.Slots, rows),
                    kept
                );
            var count = places.Rows.size(0);
            rowGradient.index_add_(0, places.Rows, ofInput.narrow(0, 0, count), Scalars.One);
            weightGradient.index_copy_(0, places.Slots, ofWeights.narrow(0, 0, count));
        }
        weights.backward([weightGradient.view(weights.shape)]);
        return (rowGradient.MoveToOuterDisposeScope(), leaf.grad!.MoveToOuterDisposeScope());
    }

    // Some rows, and rows of zeros up to the least number where the pass has that many.
    private static Tensor Select(Tensor all, Tensor places, Tensor pass)
    {
        var (some, missing) = (all.index_select(0, places), MinRows - places.size(0));
        return missing <= 0 || pass.size(0) < MinRows ? some : cat([some, zeros([missing, all.size(1)], all.dtype, all.device)], 0);
    }

    // The rows of each expert that has any, in order, and the indexes of their weights among N k.
    private IEnumerable<(int Expert, (Tensor Rows, Tensor Slots) Places)> Group(Tensor chosen)
    {
        var perRow = chosen.size(1);
        using var onHost = chosen.cpu();
        var all = onHost.data<long>().ToArray();
        var slots = new List<long>[experts.Count];
        for (var i = 0; i < all.Length; i++)
            (slots[all[i]] ??= []).Add(i);
        for (var expert = 0; expert < slots.Length; expert++)
        {
            if (slots[expert] is not { } own)
                continue;
            using var slotTensor = tensor([.. own], device: chosen.device);
            using var rowTensor = tensor([.. own.Select(s => s / perRow)], device: chosen.device);
            yield return (expert, (rowTensor, slotTensor));
        }
    }
}
