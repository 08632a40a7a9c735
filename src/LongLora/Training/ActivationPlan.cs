using LongLora.Layers;
using LongLora.Models;

namespace LongLora.Training;

// N tokens in a forward pass (B L), D model size, F MLP size, H heads, J key-value heads, K head size

/// <summary>
/// What the forward pass keeps in a given memory so that the backward pass need not compute it again: the results that save the most
/// operations per byte. Results of a step have the same bits under every plan.
/// </summary>
/// <remarks>
/// Where spans of several blocks are run forward again, this memory serves one span after the other. Ranks that share a text may have
/// different plans, because what they send each other depends only on the spans.
/// </remarks>
/// <param name="Blocks">What each block keeps besides its input and the result of its attention.</param>
/// <param name="Bytes">The most memory that this takes at a time.</param>
internal sealed record ActivationPlan(IReadOnlyList<ActivationKinds> Blocks, long Bytes)
{
    /// <summary>The share of a device's memory above which other programs can make a run fail.</summary>
    internal const double Comfortable = 0.9;

    /// <summary>
    /// The memory that a run may take without being told: half of what is free and not needed, and never so much that other programs could
    /// make it fail. 0 if unknown.
    /// </summary>
    /// <param name="free">Free bytes of the device before the run.</param>
    /// <param name="total">All bytes of the device.</param>
    /// <param name="needed">What the run takes at its peak without it.</param>
    /// <param name="ranks">Ranks that share this memory.</param>
    internal static long ChooseBudget(long? free, long? total, long needed, int ranks = 1) =>
        free is { } left && total is { } all
            ? Math.Max(0, (long)Math.Min((left / ranks - needed) / 2, Comfortable * all / ranks - needed))
            : 0;

    private readonly record struct Choice(int Block, ActivationKinds Kind, long Bytes, double Flops);

    /// <summary>Chooses what to keep.</summary>
    /// <param name="model">A model, or one made by <see cref="ModelLoader.Describe"/>.</param>
    /// <param name="tokens">N.</param>
    /// <param name="budget">The most bytes to take.</param>
    /// <param name="blocksPerSegment">As given to <see cref="CheckpointedPass"/>.</param>
    /// <param name="cuda">Whether on CUDA, where tiles are larger.</param>
    /// <param name="size">Bytes of an activation.</param>
    internal static ActivationPlan Make(CausalLanguageModel model, long tokens, long budget, int blocksPerSegment, bool cuda, long size)
    {
        var (kinds, most) = (new ActivationKinds[model.Blocks.Count], 0L);
        // With one block a span, all blocks wait together.
        foreach (var together in Enumerable.Range(0, kinds.Length).Chunk(blocksPerSegment == 1 ? kinds.Length : blocksPerSegment))
        {
            var left = budget;
            // The last blocks first: what is kept last is freed first.
            var choices =
                from block in together
                from choice in ListChoices(model, block, tokens, cuda, size)
                orderby choice.Flops / choice.Bytes descending, choice.Kind, block descending
                select choice;
            foreach (var choice in choices.Where(c => c.Bytes <= left))
            {
                left -= choice.Bytes;
                kinds[choice.Block] |= choice.Kind;
            }
            most = Math.Max(most, budget - left);
        }
        return new(kinds, most);
    }

    /// <summary>How many times a block's backward pass runs a part of itself again that is not kept.</summary>
    internal static int CountUses(DecoderBlock block, ActivationKinds kind)
    {
        int Once(bool condition) => condition ? 1 : 0;
        return kind switch
        {
            ActivationKinds.AttentionOutput => Once(!block.IsParallel) + Once(block.AttentionEnd.Norm is not null),
            ActivationKinds.MlpOutput => block.Mlp.NormedOutputCount
                + Once(block.MlpEnd.Norm is not null)
                + Once(block.Tail?.Branch is not null),
            ActivationKinds.Heads => Once(block.Recurrence is null),
            _ => 1,
        };
    }

    /// <summary>The layers that produce heads.</summary>
    internal static IEnumerable<LinearLayer> SelectHeadLayers(DecoderBlock block) =>
        block.AttentionLayers.Where(l => l != block.AttentionOutput);

    private static IEnumerable<Choice> ListChoices(CausalLanguageModel model, int index, long tokens, bool cuda, long size)
    {
        var block = model.Blocks[index];
        var plan = model.Config.GetLayer(index);
        double Flops(IEnumerable<LinearLayer> layers) => layers.Sum(l => 2.0 * tokens * l.Share * l.InputSize * l.OutputSize);
        Choice Make(ActivationKinds kind, long numbers, IEnumerable<LinearLayer> layers) =>
            new(index, kind, numbers * size, Flops(layers) * CountUses(block, kind));
        long width = model.Config.HiddenSize,
            heads = block.AttentionOutput.InputSize + 2L * plan.KeyValueHeadCount * plan.HeadSize;
        Choice[] all =
        [
            Make(ActivationKinds.AttentionOutput, tokens * width, [block.AttentionOutput]),
            Make(ActivationKinds.MlpOutput, tokens * width * Math.Max(1, block.Mlp.NormedOutputCount), block.Mlp.Outputs),
            Make(ActivationKinds.Heads, tokens * heads, SelectHeadLayers(block)),
            Make(ActivationKinds.MlpInputs, CountMlpInputs(block.Mlp, tokens, cuda), block.Mlp.Inputs),
        ];
        return all.Where(c => c.Flops > 0);
    }

    // An expert gets its share of the tokens, and in each tile some rows of zeros if it has few.
    private static long CountMlpInputs(FeedForward mlp, long tokens, bool cuda)
    {
        var tile = BlockPass.CountTileRows(mlp.Width, cuda);
        var tiles = (tokens + tile - 1) / tile;
        return mlp.Inputs.Sum(l =>
            l.Share == 1 ? tokens * l.OutputSize : (long)((tokens * l.Share + tiles * ExpertMlp.MostAddedRows) * l.OutputSize)
        );
    }
}
