using LongLora.Attention;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Training;

// B batch, L tokens, D model size

/// <summary>
/// Forward and backward pass of a whole model with activation checkpointing (arXiv 1604.06174) as an explicit walk over its blocks: forward
/// without gradients; then the loss and its gradient chunk by chunk; then the blocks in reverse, each given the gradient of its output.
/// </summary>
/// <remarks>
/// With one block per span, the walk keeps each block's input and attention output (2 D numbers per token and block) and computes nothing
/// expensive twice. With k blocks, it keeps every k-th block's input (D numbers) and runs the blocks of a span forward again, which saves
/// memory in deep models and takes about a third more time. Memory for kept activations saves what is still computed twice; the gradients
/// have the same bits with any of it.
/// </remarks>
/// <param name="model">The model; gradients are added to its trained weights.</param>
/// <param name="blocksPerSegment">Blocks between two kept inputs, at least 1.</param>
/// <param name="offload">Where activations are kept.</param>
/// <param name="keptBytes">
/// The most bytes, on the device that computes, for results that the backward pass would otherwise compute again. Default 0: none.
/// </param>
public sealed class CheckpointedPass(
    CausalLanguageModel model,
    int blocksPerSegment = 1,
    ActivationOffload offload = ActivationOffload.None,
    long keptBytes = 0
) : IDisposable
{
    private readonly Workspace _workspace = new(),
        _kept = new();
    private (ActivationOffload Place, IReadOnlyList<ActivationKinds> Kinds)? _keptAs;
    private (long Tokens, ActivationPlan Plan)? _plan;
    private long? _free;

    /// <summary>
    /// Runs the model forward and backward: adds the gradients of the summed loss, times <paramref name="scale"/>, to the trained weights.
    /// </summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="targets">[B L] the id to predict at each position; negative if there is nothing to predict.</param>
    /// <param name="context">Attention and positions.</param>
    /// <param name="scale">Factor on the gradients, usually 1 / targets in the whole optimizer step.</param>
    /// <returns>Sum of -log p(target), [] fp64; the caller disposes it.</returns>
    internal Tensor ForwardBackward(Tensor ids, Tensor targets, ForwardContext context, double scale)
    {
        CausalLanguageModel.CheckIds(ids, context);
        if (targets.numel() != ids.numel())
            throw new ShapeException($"{ids.numel()} ids need as many targets, but there are {targets.numel()}.");
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var sameProducts = RowProduct.Stop();
        model.Divided?.Begin(ListVisits(model.Blocks.Count, blocksPerSegment));
        using var prepared = ProductWeights.PrepareTrained(model);
        // Asked only once, because libtorch keeps a GPU's memory after a step, so less would seem free.
        _free ??= MemoryMeter.GetAvailableBytes(model.Device.type, model.Device.index) - MemoryMeter.GetCurrentBytes(model.Device);
        using var kept = OpenKept(ids.numel());
        var hidden = HostMemory.AllocateApart(() => model.Embedding.Forward(ids, model.ComputeType));
        using var side = model.OpenSide(ids, hidden);
        context = context with { Side = side };
        for (var first = 0; first < model.Blocks.Count; first += blocksPerSegment)
            ForwardSpan(hidden, first, context, kept);
        var loss = ChunkedCrossEntropy.Run(model, hidden, targets, scale);
        var gradient = hidden; // it has become that
        for (var first = (model.Blocks.Count - 1) / blocksPerSegment * blocksPerSegment; first >= 0; first -= blocksPerSegment)
            BackwardSpan(gradient, first, context, kept);
        if (side?.InputGradients is { } ofInputs)
            model.TokenInputs!.Backward(ids, model.Embedding, ofInputs, gradient);
        model.Embedding.Backward(ids, gradient);
        return loss.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Takes part in a pass of other ranks without a text of its own, if ranks divide the model's matrices and so need each other.
    /// </summary>
    internal void Accompany() => model.Divided?.Accompany(ListVisits(model.Blocks.Count, blocksPerSegment));

    /// <summary>The blocks in the order in which a pass comes to them.</summary>
    /// <param name="blocks">Number of blocks.</param>
    /// <param name="blocksPerSegment">Blocks between two kept inputs.</param>
    internal static IReadOnlyList<int> ListVisits(int blocks, int blocksPerSegment)
    {
        var visits = Enumerable.Range(0, blocks).ToList();
        foreach (var span in visits.Chunk(blocksPerSegment).Reverse().ToList())
        {
            if (blocksPerSegment > 1)
                visits.AddRange(span);
            visits.AddRange(span.Reverse());
        }
        return visits;
    }

    private void ForwardSpan(Tensor hidden, int first, ForwardContext context, KeptBlocks kept)
    {
        using var scope = NewDisposeScope();
        if (blocksPerSegment == 1)
        {
            ForwardBlock(hidden, first, context, kept);
            return;
        }
        kept.Store.PushCopy(hidden);
        for (var i = first; i < Math.Min(first + blocksPerSegment, model.Blocks.Count); i++)
        {
            using var inner = NewDisposeScope();
            model.Divided?.Enter(i);
            BlockPass.Forward(model.Blocks[i], hidden, context, _workspace);
        }
    }

    private void BackwardSpan(Tensor gradient, int first, ForwardContext context, KeptBlocks kept)
    {
        if (blocksPerSegment == 1)
        {
            BackwardBlock(gradient, first, context, kept);
            return;
        }
        var end = Math.Min(first + blocksPerSegment, model.Blocks.Count);
        var memory = _kept.OpenSection("span");
        using var span = new KeptBlocks(ActivationStore.Create(ActivationOffload.None, model.Device, memory), kept.Plan, memory, first);
        using (var hidden = kept.Store.Pop())
        {
            for (var i = first; i < end; i++)
                ForwardBlock(hidden, i, context, span);
        }
        for (var i = end - 1; i >= first; i--)
            BackwardBlock(gradient, i, context, span);
    }

    private void ForwardBlock(Tensor hidden, int block, ForwardContext context, KeptBlocks kept)
    {
        using var scope = NewDisposeScope();
        model.Divided?.Enter(block);
        kept.Store.PushCopy(hidden);
        var (output, logSumExp) = BlockPass.Forward(model.Blocks[block], hidden, context, _workspace, kept.Open(block));
        kept.Store.Push(output);
        if (logSumExp is not null)
            kept.Store.Push(logSumExp);
        Liveness.Tick();
    }

    private void BackwardBlock(Tensor gradient, int block, ForwardContext context, KeptBlocks kept)
    {
        using var scope = NewDisposeScope();
        model.Divided?.Enter(block);
        using var own = kept.Take(block);
        var keepsTwo = model.Blocks[block].Recurrence is not null || context.Attention.KeepsLogSumExp(model.Device);
        var logSumExp = keepsTwo ? kept.Store.Pop() : null;
        var output = kept.Store.Pop();
        var input = kept.Store.Pop();
        BlockPass.Backward(model.Blocks[block], input, new AttentionResult(output, logSumExp), gradient, context, _workspace, own);
        Liveness.Tick();
    }

    /// <summary>Memory in which activations are kept; after a step it waits for the next one.</summary>
    internal long HeldBytes => _kept.ByteCount;

    private KeptBlocks OpenKept(long tokens)
    {
        var place = ActivationStore.Resolve(offload, CountKeptBytes(tokens), _free, model.Device.type == DeviceType.CUDA);
        var plan = ChoosePlan(tokens);
        // A shorter text may keep more kinds. The memory of two plans together could be more than either may take.
        if (_keptAs is not { } last || last.Place != place || !last.Kinds.SequenceEqual(plan.Blocks))
            _kept.Clear();
        _keptAs = (place, plan.Blocks);
        return new(ActivationStore.Create(place, model.Device, _kept), plan, _kept);
    }

    private ActivationPlan ChoosePlan(long tokens)
    {
        if (_plan is not { } known || known.Tokens != tokens)
            _plan = known = (
                tokens,
                ActivationPlan.Make(
                    model,
                    tokens,
                    keptBytes,
                    blocksPerSegment,
                    model.Device.type == DeviceType.CUDA,
                    model.ComputeType.ElementSize()
                )
            );
        return known.Plan;
    }

    private long CountKeptBytes(long tokens)
    {
        long spans = (model.Blocks.Count + blocksPerSegment - 1) / blocksPerSegment;
        var config = model.Config;
        var perBlock = config.HiddenSize + (blocksPerSegment == 1 ? config.HeadCount * (config.HeadSize + 1L) : 0);
        return tokens * spans * perBlock * model.ComputeType.ElementSize();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _workspace.Dispose();
        _kept.Dispose();
    }

    // Inputs and results of attention in a store, and what blocks keep besides. Spans one after the other use the same memory.
    private sealed record KeptBlocks(ActivationStore Store, ActivationPlan Plan, Workspace Memory, int First = 0) : IDisposable
    {
        private readonly KeptActivations?[] _blocks = new KeptActivations?[Plan.Blocks.Count];

        internal KeptActivations Open(int block) =>
            _blocks[block] = new(Plan.Blocks[block], Memory.OpenSection($"block {block - First}"), Store.StaysOnDevice);

        internal KeptActivations Take(int block)
        {
            var own = _blocks[block]!;
            _blocks[block] = null;
            return own;
        }

        public void Dispose()
        {
            foreach (var block in _blocks)
                block?.Dispose();
            Store.Dispose();
        }
    }
}
