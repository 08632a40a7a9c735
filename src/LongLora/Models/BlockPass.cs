using LongLora.Attention;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, N = B L rows, l tokens of a tile, D model size, H heads, h some of them, K head size, F MLP size

/// <summary>
/// The passes through one decoder block that hold the least. What works on each token alone (norms, projections, MLP) runs tile by tile,
/// so nothing of size [L, F] exists, nor the norm's output; on long texts the heads run some at a time, so queries, keys, values and
/// their gradients exist for these alone. The backward pass keeps the block's input and the attention's output, recomputes what is cheap
/// (norms, projections, the MLP's first half) and never attention, nor the two output projections.
/// </summary>
public static class BlockPass
{
    // Elements of one activation [l, F], and of q, k, v, their gradients and what the kernels return together: 4 and 64 MiB in fp32 on
    // the CPU, whose caches like it small; 64 MiB and 1 GiB in bf16 on a GPU, which wants much work at once.
    private static long TileElements(bool onGpu) => onGpu ? 32 << 20 : 1 << 20;

    private static long HeadElements(bool onGpu) => onGpu ? 512 << 20 : 16 << 20;

    // Fewer rows would leave the products of a large model waiting for its weights.
    private const long MinTileRows = 512;

    /// <summary>Rows that are worked on at once where a row has <paramref name="width"/> numbers.</summary>
    internal static long CountTileRows(long width, bool onGpu) => Math.Max(MinTileRows, TileElements(onGpu) / width);

    /// <summary>Head groups that are worked on at once.</summary>
    /// <param name="tokens">N = B L.</param>
    /// <param name="width">H K.</param>
    /// <param name="groups">All head groups of a block.</param>
    /// <param name="onGpu">Whether on a GPU.</param>
    internal static int CountGroupsAtOnce(long tokens, long width, int groups, bool onGpu)
    {
        var most = HeadElements(onGpu);
        var passes = (int)Math.Clamp((8 * tokens * width + most - 1) / most, 1, groups);
        return (groups + passes - 1) / passes;
    }

    /// <summary>Adds both branches to <paramref name="hidden"/> in place, outside autograd.</summary>
    /// <param name="block">The block.</param>
    /// <param name="hidden">[B, L, D]; becomes the block's output.</param>
    /// <param name="context">Attention and positions.</param>
    /// <param name="workspace">Buffers, the same for all blocks.</param>
    /// <returns>What <see cref="Backward"/> needs beside the block's input; dispose it where it is not wanted.</returns>
    public static AttentionResult Forward(DecoderBlock block, Tensor hidden, ForwardContext context, Workspace workspace)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = Rows(hidden);
        var attended = Attend(block, hidden, context, workspace);
        // In a parallel block the MLP reads what came in.
        var source = block.IsParallel ? workspace.TakeLike("input", rows).copy_(rows) : rows;
        AddOutput(block.AttentionOutput, rows, attended);
        ForEachTile(rows, rows.size(0), block.MlpOutput.InputSize, (start, count) =>
        {
            var activated = block.Activate(block.MlpNorm.Forward(source.narrow(0, start, count)));
            rows.narrow(0, start, count).add_(block.MlpOutput.Forward(activated), Scalars.One);
        });
        return new(attended.Output.MoveToOuterDisposeScope(), attended.LogSumExp?.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Turns the gradient of the block's output into that of its input, in place, and adds the gradients of trained weights.
    /// </summary>
    /// <param name="block">The block.</param>
    /// <param name="input">[B, L, D], the block's input.</param>
    /// <param name="attended">What <see cref="Forward"/> returned.</param>
    /// <param name="gradient">[B, L, D], contiguous; changed.</param>
    /// <param name="context">As given to Forward.</param>
    /// <param name="workspace">As given to Forward.</param>
    public static void Backward(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor gradient,
        ForwardContext context,
        Workspace workspace
    )
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = Rows(gradient);
        // In a parallel block the attention branch has the gradient that came in, without the MLP's part.
        var outputGradient = block.IsParallel ? workspace.TakeLike("input", rows).copy_(rows) : rows;
        MlpBackward(block, input, attended, rows);
        AttentionBackward(block, input, attended, outputGradient, rows, context, workspace);
    }

    private static void MlpBackward(DecoderBlock block, Tensor input, AttentionResult attended, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var (source, heads) = (Rows(input), HeadRows(attended.Output));
        ForEachTile(source, source.size(0), block.MlpOutput.InputSize, (start, count) =>
        {
            var leaf = source.narrow(0, start, count).detach();
            if (!block.IsParallel)
                leaf = leaf.add(block.AttentionOutput.Forward(heads.narrow(0, start, count)), Scalars.One);
            leaf.requires_grad_(true);
            Tensor activated;
            using (enable_grad())
                activated = block.Activate(block.MlpNorm.Forward(leaf)); // [l, D] -> [l, F]
            var tile = gradient.narrow(0, start, count);
            block.MlpOutput.AccumulateGradients(activated.detach(), tile);
            activated.backward([block.MlpOutput.ComputeInputGradient(tile)]);
            tile.add_(leaf.grad!, Scalars.One);
        });
    }

    private static void AttentionBackward(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor outputGradient,
        Tensor gradient,
        ForwardContext context,
        Workspace workspace
    )
    {
        using var scope = NewDisposeScope();
        block.AttentionOutput.AccumulateGradients(HeadRows(attended.Output), outputGradient);
        var (batch, length) = (input.size(0), input.size(1));
        var normedGradient = workspace.TakeLike("normed gradient", input).zero_();
        ForEachHeadGroup(block, input, (first, count) =>
        {
            var (query, key, value, heads) = Project(block, input, first, count, context, workspace);
            var gradients = Attention(block, context)
                .Backward(
                    HeadGradient(block.AttentionOutput, outputGradient, query, heads, workspace),
                    query,
                    key,
                    value,
                    Part(attended, heads),
                    context.DocumentLengths,
                    heads,
                    into: (
                        workspace.TakeHeads("query gradient", query, query.size(1), length),
                        workspace.TakeHeads("key gradient", key, key.size(1), length),
                        workspace.TakeHeads("value gradient", value, value.size(1), length)
                    )
                );
            ForEachTile(input, length, batch * input.size(2), (start, size) =>
            {
                Tensor Tokens(Tensor heads) => heads.narrow(2, start, size);
                var normed = block.AttentionNorm.Forward(input.narrow(1, start, size));
                normedGradient
                    .narrow(1, start, size)
                    .add_(
                        block.ProjectBackward(
                            normed,
                            new(Tokens(gradients.Query), Tokens(gradients.Key), Tokens(gradients.Value), heads),
                            first,
                            count,
                            Tile(context, start, size)
                        ),
                        Scalars.One
                    );
            });
        });
        var (inputRows, gradientRows) = (Rows(input), Rows(normedGradient));
        ForEachTile(inputRows, inputRows.size(0), inputRows.size(1), (start, count) =>
        {
            var leaf = inputRows.narrow(0, start, count).detach().requires_grad_(true);
            Tensor output;
            using (enable_grad())
                output = block.AttentionNorm.Forward(leaf);
            output.backward([gradientRows.narrow(0, start, count)]);
            gradient.narrow(0, start, count).add_(leaf.grad!, Scalars.One);
        });
    }

    private static AttentionResult Attend(DecoderBlock block, Tensor hidden, ForwardContext context, Workspace workspace)
    {
        using var scope = NewDisposeScope();
        AttentionResult? all = null;
        ForEachHeadGroup(block, hidden, (first, count) =>
        {
            var (query, key, value, heads) = Project(block, hidden, first, count, context, workspace);
            all ??= NewResult(query, heads.Total, context.Attention.KeepsLogSumExp(query.device));
            Attention(block, context).Forward(query, key, value, context.DocumentLengths, heads, into: Part(all.Value, heads));
        });
        return new(all!.Value.Output.MoveToOuterDisposeScope(), all.Value.LogSumExp?.MoveToOuterDisposeScope());
    }

    // Norm and projections of some head groups, tile by tile: the norm's output never exists whole.
    private static AttentionInputs Project(
        DecoderBlock block,
        Tensor hidden,
        int first,
        int count,
        ForwardContext context,
        Workspace workspace
    )
    {
        using var scope = NewDisposeScope();
        var length = hidden.size(1);
        AttentionInputs? all = null;
        ForEachTile(hidden, length, hidden.size(0) * hidden.size(2), (start, size) =>
        {
            var (query, key, value, heads) = block.Project(
                block.AttentionNorm.Forward(hidden.narrow(1, start, size)),
                first,
                count,
                Tile(context, start, size)
            );
            Tensor Whole(string name, Tensor tile) => workspace.TakeHeads(name, tile, tile.size(1), length).MoveToOuterDisposeScope();
            all ??= new(Whole("query", query), Whole("key", key), Whole("value", value), heads);
            all.Value.Query.narrow(2, start, size).copy_(query);
            all.Value.Key.narrow(2, start, size).copy_(key);
            all.Value.Value.narrow(2, start, size).copy_(value);
        });
        var made = all!.Value;
        return made with
        {
            Query = made.Query.MoveToOuterDisposeScope(),
            Key = made.Key.MoveToOuterDisposeScope(),
            Value = made.Value.MoveToOuterDisposeScope(),
        };
    }

    // [B L, D] -> [B, h, L, K]
    private static Tensor HeadGradient(LinearLayer layer, Tensor outputGradient, Tensor query, HeadSlice heads, Workspace workspace)
    {
        using var scope = NewDisposeScope();
        var headSize = query.size(3);
        var result = workspace.TakeHeads("head gradient", query, heads.Count, query.size(2));
        var rows = HeadRows(result);
        ForEachTile(rows, rows.size(0), layer.OutputSize, (start, count) =>
            rows.narrow(0, start, count)
                .copy_(
                    layer.ComputeInputGradient(
                        outputGradient.narrow(0, start, count),
                        new FeatureSlice(heads.First * headSize, heads.Count * headSize)
                    )
                )
        );
        return result.MoveToOuterDisposeScope();
    }

    // To be kept: in the layout in which the projections take and give heads.
    private static AttentionResult NewResult(Tensor query, long heads, bool withLogSumExp)
    {
        var (batch, length) = (query.size(0), query.size(2));
        return new(
            HostMemory
                .AllocateApart(() => empty([batch, length, heads, query.size(3)], query.dtype, query.device))
                .transpose(1, 2)
                .MoveToOuterDisposeScope(),
            withLogSumExp
                ? HostMemory
                    .AllocateApart(() => empty([batch, length, heads], ScalarType.Float32))
                    .transpose(1, 2)
                    .MoveToOuterDisposeScope()
                : null
        );
    }

    private static AttentionResult Part(AttentionResult all, HeadSlice heads) =>
        new(all.Output.narrow(1, heads.First, heads.Count), all.LogSumExp?.narrow(1, heads.First, heads.Count));

    private static IAttention Attention(DecoderBlock block, ForwardContext context) =>
        block.Window is { } window ? context.Attention.Within(window) : context.Attention;

    private static ForwardContext Tile(ForwardContext context, long start, long count) =>
        count == context.Positions.Length ? context : context with { Positions = context.Positions.Narrow(start, count) };

    // rows += output projection of the attention's output
    private static void AddOutput(LinearLayer layer, Tensor rows, AttentionResult attended)
    {
        var heads = HeadRows(attended.Output);
        ForEachTile(rows, rows.size(0), layer.OutputSize, (start, count) =>
            rows.narrow(0, start, count).add_(layer.Forward(heads.narrow(0, start, count)), Scalars.One)
        );
    }

    private static void ForEachTile(Tensor of, long total, long width, Action<long, long> action)
    {
        var tile = CountTileRows(width, IsOnGpu(of));
        for (long start = 0; start < total; start += tile)
        {
            using (NewDisposeScope())
                action(start, Math.Min(tile, total - start));
            HostMemory.TrimIfGrown();
        }
    }

    private static void ForEachHeadGroup(DecoderBlock block, Tensor hidden, Action<int, int> action)
    {
        var size = CountGroupsAtOnce(hidden.size(0) * hidden.size(1), block.AttentionOutput.InputSize, block.HeadGroups, IsOnGpu(hidden));
        for (var first = 0; first < block.HeadGroups; first += size)
        {
            using var scope = NewDisposeScope();
            action(first, Math.Min(size, block.HeadGroups - first));
        }
    }

    private static bool IsOnGpu(Tensor tensor) => tensor.device_type != DeviceType.CPU;

    // [B, L, D] -> [B L, D]
    private static Tensor Rows(Tensor hidden) => hidden.view(-1, hidden.size(2));

    // [B, H, L, K] with the strides of [B, L, H, K] -> [B L, H K]
    private static Tensor HeadRows(Tensor heads) => heads.transpose(1, 2).reshape(-1, heads.size(1) * heads.size(3));
}
