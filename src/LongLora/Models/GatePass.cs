using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N = B L rows, D model size, H heads, K head size

/// <summary>
/// The part of <see cref="BlockPass"/> for blocks whose attention has a gate: one number for each number of the heads, computed from the
/// block's input, tile by tile. Without a gate, everything passes through unchanged.
/// </summary>
internal static class GatePass
{
    /// <summary>Heads [N, H K] for the output projection, for the block's input [N, D] of the same rows.</summary>
    internal static Tensor Apply(DecoderBlock block, Tensor heads, Tensor input) =>
        block.HasGate ? heads.mul(block.ComputeGate(block.AttentionNorm.Forward(input))) : heads;

    /// <summary>The same for all rows.</summary>
    internal static Tensor ApplyToAll(DecoderBlock block, Tensor heads, Tensor input, Workspace workspace)
    {
        if (!block.HasGate)
            return heads;
        using var scope = NewDisposeScope();
        var result = workspace.TakeLike("gated heads", heads);
        BlockPass.ForEachTile(heads, heads.size(0), heads.size(1), (start, count) =>
            result.narrow(0, start, count).copy_(Apply(block, heads.narrow(0, start, count), input.narrow(0, start, count)))
        );
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of some heads for the gradient of the same heads after the gate.</summary>
    /// <param name="block">The block.</param>
    /// <param name="gradient">[N, h K].</param>
    /// <param name="input">[N, D], the block's input.</param>
    /// <param name="first">The first of these numbers among the H K.</param>
    internal static Tensor ApplyToGradient(DecoderBlock block, Tensor gradient, Tensor input, long first) =>
        block.HasGate ? gradient.mul(block.ComputeGate(block.AttentionNorm.Forward(input)).narrow(1, first, gradient.size(1))) : gradient;

    /// <summary>Adds the gate's part to the gradient of the norm's output, and adds the gradients of the gate's weights.</summary>
    /// <param name="block">The block.</param>
    /// <param name="heads">[N, H K], without the gate.</param>
    /// <param name="input">[N, D], the block's input.</param>
    /// <param name="outputGradient">[N, D], of the output projection's result.</param>
    /// <param name="normedGradient">[N, D]; changed.</param>
    internal static void Backward(DecoderBlock block, Tensor heads, Tensor input, Tensor outputGradient, Tensor normedGradient)
    {
        if (!block.HasGate)
            return;
        BlockPass.ForEachTile(heads, heads.size(0), heads.size(1), (start, count) =>
        {
            Tensor Rows(Tensor all) => all.narrow(0, start, count);
            var leaf = block.AttentionNorm.Forward(Rows(input)).detach().requires_grad_(true);
            using (enable_grad())
                block.ComputeGate(leaf).backward([block.AttentionOutput.ComputeInputGradient(Rows(outputGradient)).mul(Rows(heads))]);
            Rows(normedGradient).add_(leaf.grad!, Scalars.One);
        });
    }
}
