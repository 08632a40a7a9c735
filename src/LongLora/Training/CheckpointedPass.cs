using LongLora.Attention;
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
/// memory in deep models and takes about a third more time.
/// </remarks>
/// <param name="model">The model; gradients are added to its trained weights.</param>
/// <param name="blocksPerSegment">Blocks between two kept inputs, at least 1.</param>
/// <param name="offload">Where activations are kept.</param>
public sealed class CheckpointedPass(
    CausalLanguageModel model,
    int blocksPerSegment = 1,
    ActivationOffload offload = ActivationOffload.None
) : IDisposable
{
    private readonly Workspace _workspace = new();
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
        model.Divided?.Begin(ListVisits(model.Blocks.Count, blocksPerSegment));
        using var prepared = ProductWeights.PrepareTrained(model);
        // Asked only once, because libtorch keeps a GPU's memory after a step, so less would seem free.
        _free ??= MemoryMeter.GetAvailableBytes(model.Device.type, model.Device.index) - MemoryMeter.GetCurrentBytes(model.Device);
        using var kept = ActivationStore.Create(
            ActivationStore.Resolve(offload, CountKeptBytes(ids.numel()), _free, model.Device.type == DeviceType.CUDA),
            model.Device
        );
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

    private void ForwardSpan(Tensor hidden, int first, ForwardContext context, ActivationStore kept)
    {
        using var scope = NewDisposeScope();
        if (blocksPerSegment == 1)
        {
            ForwardBlock(hidden, first, context, kept);
            return;
        }
        kept.PushCopy(hidden);
        for (var i = first; i < Math.Min(first + blocksPerSegment, model.Blocks.Count); i++)
        {
            using var inner = NewDisposeScope();
            model.Divided?.Enter(i);
            BlockPass.Forward(model.Blocks[i], hidden, context, _workspace);
        }
    }

    private void BackwardSpan(Tensor gradient, int first, ForwardContext context, ActivationStore kept)
    {
        if (blocksPerSegment == 1)
        {
            BackwardBlock(gradient, first, context, kept);
            return;
        }
        var end = Math.Min(first + blocksPerSegment, model.Blocks.Count);
        using var span = ActivationStore.Create(ActivationOffload.None, model.Device);
        using (var hidden = kept.Pop())
        {
            for (var i = first; i < end; i++)
                ForwardBlock(hidden, i, context, span);
        }
        for (var i = end - 1; i >= first; i--)
            BackwardBlock(gradient, i, context, span);
    }

    private void ForwardBlock(Tensor hidden, int block, ForwardContext context, ActivationStore kept)
    {
        using var scope = NewDisposeScope();
        model.Divided?.Enter(block);
        kept.PushCopy(hidden);
        var (output, logSumExp) = BlockPass.Forward(model.Blocks[block], hidden, context, _workspace);
        kept.Push(output);
        if (logSumExp is not null)
            kept.Push(logSumExp);
        Liveness.Tick();
    }

    private void BackwardBlock(Tensor gradient, int block, ForwardContext context, ActivationStore kept)
    {
        using var scope = NewDisposeScope();
        model.Divided?.Enter(block);
        var keepsTwo = model.Blocks[block].Recurrence is not null || context.Attention.KeepsLogSumExp(model.Device);
        var logSumExp = keepsTwo ? kept.Pop() : null;
        var output = kept.Pop();
        BlockPass.Backward(model.Blocks[block], kept.Pop(), new AttentionResult(output, logSumExp), gradient, context, _workspace);
        Liveness.Tick();
    }

    private long CountKeptBytes(long tokens)
    {
        long spans = (model.Blocks.Count + blocksPerSegment - 1) / blocksPerSegment;
        var config = model.Config;
        var perBlock = config.HiddenSize + (blocksPerSegment == 1 ? config.HeadCount * (config.HeadSize + 1L) : 0);
        return tokens * spans * perBlock * model.ComputeType.ElementSize();
    }

    /// <inheritdoc/>
    public void Dispose() => _workspace.Dispose();
}
