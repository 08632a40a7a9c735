using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Models;

namespace LongLora.Training;

// N rows (B L), I inputs, O outputs, r rank, H heads, K head size, P query-key pairs of one head

/// <summary>
/// Floating-point operations of the matrix products in one training step, counting a multiplication and an addition as two. Element-wise
/// work (norms, rotary positions, softmax, activations, loss, optimizer) is not counted: it is of order N D, while products are of order N
/// D². Leaving it out can only make a reported rate too low.
/// </summary>
/// <param name="Forward">Every linear layer 2 N I O, its LoRA update 2 N r (I + O), attention 4 H K P in each block.</param>
/// <param name="ActivationGradients">The same again for the gradients of the inputs, and 8 H K P for those of q, k and v.</param>
/// <param name="WeightGradients">2 N I O for each trained matrix, 2 N r (I + O) for each trained LoRA pair.</param>
/// <param name="Recomputed">
/// What <see cref="CheckpointedPass"/> computes a second time to save memory; not part of <see cref="Needed"/>. It includes LoRA's narrow
/// products, which are repeated for each pass over some of the heads on long texts, and the attention scores, 2 H K P, which no fused
/// kernel keeps. These remain where all other activations are kept.
/// </param>
public sealed record StepFlops(double Forward, double ActivationGradients, double WeightGradients, double Recomputed)
{
    /// <summary>What every implementation of the step must compute.</summary>
    public double Needed => Forward + ActivationGradients + WeightGradients;

    /// <summary>Counts the operations of a step.</summary>
    /// <remarks>
    /// This assumes that every layer computes the gradient of its input, which is needed if the embeddings are trained (LoRA+ and full
    /// fine-tuning). Plain LoRA could skip it in the projections of the first block.
    /// </remarks>
    /// <param name="config">The architecture; nothing is allocated.</param>
    /// <param name="attention">The attention in training.</param>
    /// <param name="tuning">What is trained.</param>
    /// <param name="length">L, tokens in a sequence.</param>
    /// <param name="batch">B, sequences.</param>
    /// <param name="blocksPerSegment">As given to <see cref="CheckpointedPass"/>.</param>
    /// <param name="cuda">Whether on CUDA, where more heads are processed at once, so less is recomputed.</param>
    public static StepFlops Count(
        ModelConfig config,
        IAttention attention,
        AdapterOptions tuning,
        int length,
        int batch = 1,
        int blocksPerSegment = 1,
        bool cuda = false
    ) => Count(config, attention, tuning, length, batch, blocksPerSegment, cuda, null);

    /// <summary>Counts the operations of a step that keeps activations.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="attention">The attention in training.</param>
    /// <param name="tuning">What is trained.</param>
    /// <param name="length">L.</param>
    /// <param name="batch">B.</param>
    /// <param name="blocksPerSegment">As given to <see cref="CheckpointedPass"/>.</param>
    /// <param name="cuda">Whether on CUDA.</param>
    /// <param name="kept">What is kept; null for nothing.</param>
    internal static StepFlops Count(
        ModelConfig config,
        IAttention attention,
        AdapterOptions tuning,
        int length,
        int batch,
        int blocksPerSegment,
        bool cuda,
        ActivationPlan? kept
    )
    {
        using var model = ModelLoader.Describe(config);
        double rows = (double)batch * length;
        var adapted = tuning.TrainEverything || tuning.Rank == 0 ? [] : AdapterSet.Targets(model, tuning.TargetModules).ToHashSet();
        double Dense(LinearLayer layer) => 2 * rows * layer.Share * layer.InputSize * layer.OutputSize;
        LayerFlops Parts(LinearLayer layer) =>
            adapted.Contains(layer)
                ? LayerFlops.OfAdapted(layer, tuning, rows * layer.Share)
                : new(Dense(layer), In: 0, Out: 0, TrainedIn: 0, TrainedOut: 0, HasMagnitude: false);
        double Layer(LinearLayer layer) => Parts(layer).Forward;
        double Update(LinearLayer layer) => Parts(layer) is var parts ? parts.TrainedIn + parts.TrainedOut : 0;

        // A tied head is not among the linear layers, and is trained with the embeddings.
        var layers = model.Linears.Contains(model.Head) ? model.Linears : [.. model.Linears, model.Head];
        var headIsTrained = tuning.TrainEverything || (config.TiedEmbeddings && tuning.TrainEmbeddings);
        var products = layers.Sum(Layer);
        var trained = layers.Sum(l => Update(l) + (tuning.TrainEverything || (l == model.Head && headIsTrained) ? Dense(l) : 0));
        double Pairs(DecoderBlock block) =>
            block.Recurrence is not null
                ? 0
                : (block.Window is { } window ? attention.Within(window) : attention).MakePattern(length).PairsPerHead;
        var scores = 2.0 * batch * config.HeadCount * config.HeadSize * model.Blocks.Sum(Pairs);

        var blocks = products - Layer(model.Head);
        var mlp = blocks - model.Blocks.Sum(b => b.AttentionLayers.Concat(b.Mlp.Outputs).Sum(Layer)); // the MLP's first half
        // x Aᵀ and g B of an adapted head are made twice too.
        double Passes(DecoderBlock block) => CountPasses(block, (long)rows, cuda);
        var recomputed = mlp + model.Blocks.Sum(b => CountAgain(b, Parts, Passes(b))) + Parts(model.Head).CountAccumulated(1) + scores;
        if (cuda) // attention's forward pass, whose kernel's own notes autograd keeps to itself
            recomputed += 2 * scores;
        if (blocksPerSegment > 1)
            recomputed +=
                blocks + model.Blocks.Sum(b => SelectHeadLayers(b).Sum(l => (Passes(b) * b.CountSlices(l) - 1) * Parts(l).In)) + 2 * scores;
        if (kept is not null)
            recomputed -= model.Blocks.Zip(kept.Blocks, (block, kinds) => CountSaved(block, kinds, Parts, Passes(block))).Sum();
        return new(products + 2 * scores, products + 4 * scores, trained, recomputed);
    }

    // What one layer's products take for all rows: x Wᵀ or g W; x Aᵀ, and (x Aᵀ) Bᵀ or g B, PiSSA's frozen pair included; the same of
    // the trained pair alone. The norms of DoRA are not counted: they take r rows where a tile takes hundreds.
    private readonly record struct LayerFlops(double Dense, double In, double Out, double TrainedIn, double TrainedOut, bool HasMagnitude)
    {
        internal double Forward => Dense + In + Out;

        internal static LayerFlops OfAdapted(LinearLayer layer, AdapterOptions tuning, double rows)
        {
            var (product, pairs) = (2 * rows * tuning.Rank, tuning.Kind == AdapterKind.Pissa ? 2 : 1);
            double input = product * layer.InputSize,
                output = product * layer.OutputSize;
            return new(
                2 * rows * layer.InputSize * layer.OutputSize,
                pairs * input,
                pairs * output,
                input,
                output,
                tuning.Kind == AdapterKind.Dora
            );
        }

        // For the gradients of its weights: x Aᵀ for that of B, g B for that of A, and for magnitudes the output once more.
        internal double CountAccumulated(double uses) => uses * TrainedIn + TrainedOut + (HasMagnitude ? Dense + uses * In + Out : 0);
    }

    private static IEnumerable<LinearLayer> SelectHeadLayers(DecoderBlock block) => ActivationPlan.SelectHeadLayers(block);

    // What CountAgain and the MLP's first half count for results that are kept.
    private static double CountSaved(DecoderBlock block, ActivationKinds kept, Func<LinearLayer, LayerFlops> parts, double passes)
    {
        double Saved(ActivationKinds kind, IEnumerable<LinearLayer> layers, Func<LinearLayer, double> flops) =>
            kept.HasFlag(kind) ? layers.Sum(flops) : 0;
        return Saved(ActivationKinds.MlpInputs, block.Mlp.Inputs, l => parts(l).Forward)
            + Saved(ActivationKinds.MlpOutput, block.MlpEnd.Norm is null ? [] : block.Mlp.Outputs, l => parts(l).Forward)
            + ActivationPlan.CountUses(block, ActivationKinds.AttentionOutput)
                * Saved(ActivationKinds.AttentionOutput, [block.AttentionOutput], l => parts(l).Forward)
            + Saved(ActivationKinds.Heads, SelectHeadLayers(block), l => CountProjection(parts(l), passes * block.CountSlices(l)));
    }

    // x Wᵀ of all heads, and x Aᵀ for each pass over some of them.
    private static double CountProjection(LayerFlops flops, double uses) => flops.Dense + flops.Out + uses * flops.In;

    // On long texts the heads run some at a time.
    private static double CountPasses(DecoderBlock block, long rows, bool cuda) =>
        Math.Ceiling((double)block.HeadGroups / BlockPass.CountGroupsAtOnce(rows, block.AttentionOutput.InputSize, block.HeadGroups, cuda));

    // What BlockPass computes a second time in a block, the scores and the MLP's first half aside.
    private static double CountAgain(DecoderBlock block, Func<LinearLayer, LayerFlops> parts, double passes)
    {
        double sum = 0;
        foreach (var layer in SelectHeadLayers(block))
        {
            var (flops, uses) = (parts(layer), passes * block.CountSlices(layer)); // how often x Aᵀ is made for all the heads
            sum += (uses - 1) * flops.In; // in the forward pass
            sum += CountProjection(flops, uses) * (block.RunAgain.Contains(layer) ? 2 : 1);
            sum += flops.CountAccumulated(uses) + (uses - 1) * (flops.TrainedIn + flops.In); // the latter parts of the gradients of A and x
        }
        // Run for the MLP's input; g B in each pass over the heads.
        var output = parts(block.AttentionOutput);
        sum += (block.IsParallel ? 0 : output.Forward) + output.CountAccumulated(1) + (passes - 1) * output.Out;
        // The latter are not run again themselves.
        foreach (var layer in block.Mlp.Inputs.Concat(block.Mlp.Outputs))
            sum += parts(layer).CountAccumulated(1);
        // A norm behind a branch needs its output again.
        if (block.AttentionEnd.Norm is not null)
            sum += output.Forward;
        if (block.MlpEnd.Norm is not null)
            sum += block.Mlp.Outputs.Sum(l => parts(l).Forward);
        return sum;
    }
}
