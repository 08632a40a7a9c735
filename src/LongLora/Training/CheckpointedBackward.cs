using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

// B batch, L tokens, D model size

/// <summary>
/// Forward and backward pass of a whole model with activation checkpointing (arXiv 1604.06174) as an explicit walk over its blocks: forward
/// without gradients, keeping the input of each segment of blocks; then the loss and its gradient chunk by chunk; then the segments in
/// reverse, each computed again and given the gradient of its output. Losses and gradients are those of the plain pass, to the bit.
/// </summary>
/// <param name="model">The model; gradients are added to its trained weights.</param>
/// <param name="blocksPerSegment">Blocks between two kept inputs; 0 keeps every activation and computes nothing twice.</param>
public sealed class CheckpointedBackward(CausalLanguageModel model, int blocksPerSegment = 1)
{
    /// <summary>Adds the gradients of the summed loss, times <paramref name="scale"/>, to the trained weights.</summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="targets">[B L] the id to predict at each place; negative where there is nothing to predict.</param>
    /// <param name="context">Attention and positions.</param>
    /// <param name="scale">Factor on the gradients, usually 1 / targets in the whole optimizer step.</param>
    /// <returns>Sum of -log p(target), [] fp64; the caller disposes it.</returns>
    public Tensor Run(Tensor ids, Tensor targets, ForwardContext context, double scale)
    {
        CausalLanguageModel.CheckIds(ids, context);
        if (targets.numel() != ids.numel())
            throw new ShapeException($"{ids.numel()} ids need as many targets; seen {targets.numel()}.");
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var embedded = model.Embedding.Forward(ids, model.ComputeType);
        var (loss, gradient) = blocksPerSegment == 0
            ? RunKeeping(embedded, targets, context, scale)
            : RunRecomputing(embedded, targets, context, scale);
        model.Embedding.Backward(ids, gradient);
        return loss.MoveToOuterDisposeScope();
    }

    private (Tensor Loss, Tensor Gradient) RunRecomputing(Tensor embedded, Tensor targets, ForwardContext context, double scale)
    {
        var inputs = new Stack<(Tensor Input, int First)>();
        var hidden = embedded;
        for (var first = 0; first < model.Blocks.Count; first += blocksPerSegment)
        {
            inputs.Push((hidden, first));
            hidden = Forward(hidden, first, context);
        }
        var (loss, gradient) = ChunkedCrossEntropy.Run(model, hidden, targets, scale);
        hidden.Dispose();
        while (inputs.TryPop(out var segment))
        {
            var next = Backward(segment.Input, segment.First, context, gradient);
            gradient.Dispose();
            segment.Input.Dispose();
            gradient = next;
        }
        return (loss, gradient);
    }

    private (Tensor Loss, Tensor Gradient) RunKeeping(Tensor embedded, Tensor targets, ForwardContext context, double scale)
    {
        var leaf = embedded.detach().requires_grad_(true);
        Tensor hidden;
        using (enable_grad())
            hidden = Segment(leaf, 0, model.Blocks.Count, context);
        var (loss, gradient) = ChunkedCrossEntropy.Run(model, hidden.detach(), targets, scale);
        hidden.backward([gradient]);
        return (loss, leaf.grad!);
    }

    private Tensor Forward(Tensor input, int first, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        return Segment(input, first, blocksPerSegment, context).MoveToOuterDisposeScope();
    }

    private Tensor Backward(Tensor input, int first, ForwardContext context, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var leaf = input.detach().requires_grad_(true);
        Tensor output;
        using (enable_grad())
            output = Segment(leaf, first, blocksPerSegment, context);
        output.backward([gradient]);
        return leaf.grad!.MoveToOuterDisposeScope();
    }

    private Tensor Segment(Tensor hidden, int first, int count, ForwardContext context)
    {
        for (var i = first; i < Math.Min(first + count, model.Blocks.Count); i++)
            hidden = model.Blocks[i].Forward(hidden, context);
        return hidden;
    }
}
