using LongLora.Attention;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, N = B L rows, D model size, H heads, K head size, F MLP size

/// <summary>
/// The passes through one decoder block that hold the least. The MLP runs on some tokens at a time, so nothing of size [L, F] exists; on long
/// texts the heads run some at a time, so queries, keys, values and their gradients exist for these alone. The backward pass keeps the
/// block's input and the attention's output, recomputes what is cheap (norms, projections, the MLP's first half) and never attention, nor the
/// two output projections.
/// </summary>
public static class BlockPass
{
    // Elements of one activation [tile, F], and of q, k, v, their rotated copies and gradients together: 16 and 128 MiB in fp32.
    private const long TileElements = 4 << 20, HeadElements = 32 << 20;

    /// <summary>Adds both branches to <paramref name="hidden"/> in place, outside autograd.</summary>
    /// <param name="block">The block.</param>
    /// <param name="hidden">[B, L, D]; becomes the block's output.</param>
    /// <param name="context">Attention and positions.</param>
    /// <returns>What <see cref="Backward"/> needs beside the block's input; dispose it where it is not wanted.</returns>
    public static AttentionResult Forward(DecoderBlock block, Tensor hidden, ForwardContext context)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = Rows(hidden);
        var attended = Attend(block, hidden, context);
        // In a parallel block the MLP reads what came in.
        var source = block.IsParallel ? rows.clone() : rows;
        AddOutput(block.AttentionOutput, rows, attended);
        ForEachTile(rows, block.MlpOutput.InputSize, (start, count) =>
        {
            var activated = block.Activate(block.MlpNorm.Forward(source.narrow(0, start, count)));
            rows.narrow(0, start, count).add_(block.MlpOutput.Forward(activated));
        });
        return new(attended.Output.MoveToOuterDisposeScope(), attended.LogSumExp?.MoveToOuterDisposeScope());
    }

    /// <summary>Turns the gradient of the block's output into that of its input, in place, and adds the gradients of trained weights.</summary>
    /// <param name="block">The block.</param>
    /// <param name="input">[B, L, D], the block's input.</param>
    /// <param name="attended">What <see cref="Forward"/> returned.</param>
    /// <param name="gradient">[B, L, D], contiguous; changed.</param>
    /// <param name="context">As given to Forward.</param>
    public static void Backward(DecoderBlock block, Tensor input, AttentionResult attended, Tensor gradient, ForwardContext context)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = Rows(gradient);
        // In a parallel block the attention branch has the gradient that came in, without the MLP's part.
        var outputGradient = block.IsParallel ? rows.clone() : rows;
        MlpBackward(block, input, attended, rows);
        AttentionBackward(block, input, attended, outputGradient, rows, context);
    }

    private static void MlpBackward(DecoderBlock block, Tensor input, AttentionResult attended, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var middle = Rows(input);
        if (!block.IsParallel)
        {
            middle = middle.clone();
            AddOutput(block.AttentionOutput, middle, attended);
        }
        ForEachTile(middle, block.MlpOutput.InputSize, (start, count) =>
        {
            var leaf = middle.narrow(0, start, count).detach().requires_grad_(true);
            Tensor activated;
            using (enable_grad())
                activated = block.Activate(block.MlpNorm.Forward(leaf)); // [tile, D] -> [tile, F]
            var tile = gradient.narrow(0, start, count);
            block.MlpOutput.AccumulateGradients(activated.detach(), tile);
            activated.backward([block.MlpOutput.InputGradient(tile)]);
            tile.add_(leaf.grad!);
        });
    }

    private static void AttentionBackward(DecoderBlock block, Tensor input, AttentionResult attended, Tensor outputGradient, Tensor gradient, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        block.AttentionOutput.AccumulateGradients(HeadRows(attended.Output), outputGradient);
        var normed = Norm(block.AttentionNorm, input).requires_grad_(true);
        var normedGradient = zeros_like(normed);
        normed.grad = normedGradient; // autograd adds to it, group by group
        var (batch, length) = (input.size(0), input.size(1));
        ForEachHeadGroup(block, input, (first, count) =>
        {
            AttentionInputs projected;
            using (enable_grad())
                projected = block.Project(normed, first, count, context);
            var heads = projected.Heads;
            var headSize = projected.Query.size(3);
            var headGradient = block.AttentionOutput.InputGradient(outputGradient, new FeatureSlice(heads.First * headSize, heads.Count * headSize))
                .view(batch, length, heads.Count, headSize).transpose(1, 2); // -> [B, h, L, K]
            var result = new AttentionResult(attended.Output.narrow(1, heads.First, heads.Count), attended.LogSumExp?.narrow(1, heads.First, heads.Count));
            var (query, key, value) = context.Attention.Backward(headGradient, projected.Query.detach(), projected.Key.detach(), projected.Value.detach(),
                result, context.Segments, heads);
            autograd.backward([projected.Query, projected.Key, projected.Value], [query, key, value]);
        });
        var inputRows = Rows(input);
        ForEachTile(inputRows, inputRows.size(1), (start, count) =>
        {
            var leaf = inputRows.narrow(0, start, count).detach().requires_grad_(true);
            Tensor output;
            using (enable_grad())
                output = block.AttentionNorm.Forward(leaf);
            output.backward([Rows(normedGradient).narrow(0, start, count)]);
            gradient.narrow(0, start, count).add_(leaf.grad!);
        });
    }

    private static AttentionResult Attend(DecoderBlock block, Tensor hidden, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        var normed = Norm(block.AttentionNorm, hidden);
        Tensor? output = null, logSumExp = null;
        ForEachHeadGroup(block, hidden, (first, count) =>
        {
            var (query, key, value, heads) = block.Project(normed, first, count, context);
            var part = context.Attention.Forward(query, key, value, context.Segments, heads);
            if (heads.Count == heads.Total)
            {
                (output, logSumExp) = (part.Output.MoveToOuterDisposeScope(), part.LogSumExp?.MoveToOuterDisposeScope());
                return;
            }
            output ??= empty([query.size(0), query.size(2), heads.Total, query.size(3)], query.dtype, query.device).transpose(1, 2).MoveToOuterDisposeScope();
            output.narrow(1, heads.First, heads.Count).copy_(part.Output);
            if (part.LogSumExp is { } partial)
            {
                logSumExp ??= empty([query.size(0), query.size(2), heads.Total], ScalarType.Float32).transpose(1, 2).MoveToOuterDisposeScope();
                logSumExp.narrow(1, heads.First, heads.Count).copy_(partial);
            }
        });
        return new(output!.MoveToOuterDisposeScope(), logSumExp?.MoveToOuterDisposeScope());
    }

    // rows += output projection of the attention's output
    private static void AddOutput(LinearLayer layer, Tensor rows, AttentionResult attended)
    {
        var heads = HeadRows(attended.Output);
        ForEachTile(rows, layer.OutputSize, (start, count) => rows.narrow(0, start, count).add_(layer.Forward(heads.narrow(0, start, count))));
    }

    private static Tensor Norm(INormLayer norm, Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var (rows, result) = (Rows(hidden), empty_like(hidden));
        ForEachTile(rows, rows.size(1), (start, count) => Rows(result).narrow(0, start, count).copy_(norm.Forward(rows.narrow(0, start, count))));
        return result.MoveToOuterDisposeScope();
    }

    private static void ForEachTile(Tensor rows, long width, Action<long, long> action)
    {
        long total = rows.size(0), tile = Math.Max(64, TileElements / width);
        for (long start = 0; start < total; start += tile)
        {
            using var scope = NewDisposeScope();
            action(start, Math.Min(tile, total - start));
        }
    }

    private static void ForEachHeadGroup(DecoderBlock block, Tensor hidden, Action<int, int> action)
    {
        var elements = 8 * hidden.size(0) * hidden.size(1) * block.AttentionOutput.InputSize;
        var passes = (int)Math.Clamp((elements + HeadElements - 1) / HeadElements, 1, block.HeadGroups);
        var size = (block.HeadGroups + passes - 1) / passes;
        for (var first = 0; first < block.HeadGroups; first += size)
        {
            using var scope = NewDisposeScope();
            action(first, Math.Min(size, block.HeadGroups - first));
        }
    }

    // [B, L, D] -> [B L, D]
    private static Tensor Rows(Tensor hidden) => hidden.view(-1, hidden.size(2));

    // [B, H, L, K] with the strides of [B, L, H, K] -> [B L, H K]
    private static Tensor HeadRows(Tensor heads) => heads.transpose(1, 2).reshape(-1, heads.size(1) * heads.size(3));
}
