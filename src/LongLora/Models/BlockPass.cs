using LongLora.Attention;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, N = B L rows, l tokens of a tile, D model size, H heads, h some of them, K head size, F MLP size

/// <summary>
/// The passes through one decoder block with the least memory. Everything that works on single tokens (norms, projections, MLP) runs tile
/// by tile, so nothing of size [L, F] exists, and neither does the whole output of a norm. On long texts only some heads run at a time, so
/// queries, keys, values and their gradients exist only for these. The backward pass uses the block's input and the attention's output. It
/// recomputes what is cheap (norms, projections, the first half of the MLP) but never attention, and the two output projections only where
/// a norm follows them. What <see cref="KeptActivations"/> keeps is not recomputed either; both passes cut the same tiles, so that it has
/// the same bits.
/// </summary>
internal static class BlockPass
{
    // Elements of one activation [l, F], and of q, k, v, their gradients and the kernels' results together. On the CPU 4 and 64 MiB in
    // fp32, which suits its caches. On a GPU 64 MiB and 1 GiB in bf16, because a GPU needs much work at once.
    private static long GetTileElements(bool onGpu) => onGpu ? 32 << 20 : 1 << 20;

    private static long GetHeadElements(bool onGpu) => onGpu ? 512 << 20 : 16 << 20;

    // With fewer rows the products of a large model would wait for its weights.
    private const long MinTileRows = 512;

    /// <summary>Number of rows in a tile if a row has <paramref name="width"/> numbers.</summary>
    internal static long CountTileRows(long width, bool onGpu) => Math.Max(MinTileRows, GetTileElements(onGpu) / width);

    /// <summary>Number of head groups that are computed at once.</summary>
    /// <param name="tokens">N = B L.</param>
    /// <param name="width">H K.</param>
    /// <param name="groups">All head groups of a block.</param>
    /// <param name="onGpu">Whether on a GPU.</param>
    internal static int CountGroupsAtOnce(long tokens, long width, int groups, bool onGpu)
    {
        var most = GetHeadElements(onGpu);
        var passes = (int)Math.Clamp((8 * tokens * width + most - 1) / most, 1, groups);
        return (groups + passes - 1) / passes;
    }

    /// <summary>Adds both branches to <paramref name="hidden"/> in place, outside autograd.</summary>
    /// <param name="block">The block.</param>
    /// <param name="hidden">[B, L, D]; becomes the block's output.</param>
    /// <param name="context">Attention and positions.</param>
    /// <param name="workspace">Buffers that all blocks share.</param>
    /// <param name="kept">What the backward pass need not compute again; null for nothing.</param>
    /// <returns>What <see cref="Backward"/> needs besides the block's input. Dispose it if you do not need it.</returns>
    public static AttentionResult Forward(
        DecoderBlock block,
        Tensor hidden,
        ForwardContext context,
        Workspace workspace,
        KeptActivations? kept = null
    )
    {
        kept ??= KeptActivations.None;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = ToRows(hidden);
        var attended = block.Recurrence is null
            ? Attend(block, hidden, context, workspace, kept)
            : RecurrencePass.Forward(block, hidden, context);
        // In a parallel block the MLP reads the block's input.
        var source = block.IsParallel ? workspace.TakeLike("input", rows).copy_(rows) : rows;
        var heads = ToHeadRows(attended.Output);
        ForEachTile(rows, rows.size(0), block.Mlp.Width, (start, count) =>
        {
            var (tile, own) = (rows.narrow(0, start, count), kept.SelectTile(start));
            tile.add_(ProjectOutput(block, heads.narrow(0, start, count), tile, own), Scalars.One); // the block's input up to here
            var output = block.Mlp.Forward(block.MlpNorm.Forward(source.narrow(0, start, count)), own);
            tile.add_(block.MlpEnd.Forward(output), Scalars.One);
            if (block.Tail is { } tail)
                tile.copy_(tail.Forward(tile, start, context.Side));
        });
        return new(attended.Output.MoveToOuterDisposeScope(), attended.LogSumExp?.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Replaces the gradient of the block's output by that of its input, in place, and adds the gradients of trained weights.
    /// </summary>
    /// <param name="block">The block.</param>
    /// <param name="input">[B, L, D], the block's input.</param>
    /// <param name="attended">What <see cref="Forward"/> returned.</param>
    /// <param name="gradient">[B, L, D], contiguous; changed.</param>
    /// <param name="context">As given to Forward.</param>
    /// <param name="workspace">As given to Forward.</param>
    /// <param name="kept">As given to Forward.</param>
    public static void Backward(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor gradient,
        ForwardContext context,
        Workspace workspace,
        KeptActivations? kept = null
    )
    {
        kept ??= KeptActivations.None;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var rows = ToRows(gradient);
        // In a parallel block the attention branch uses the incoming gradient, without the MLP's part.
        var outputGradient = block.IsParallel ? workspace.TakeLike("input", rows).copy_(rows) : rows;
        BackwardMlp(block, input, attended, rows, context, kept);
        BackwardAttention(block, input, attended, outputGradient, rows, context, workspace, kept);
    }

    private static void BackwardMlp(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor gradient,
        ForwardContext context,
        KeptActivations kept
    )
    {
        using var scope = NewDisposeScope();
        var (source, heads) = (ToRows(input), ToHeadRows(attended.Output));
        ForEachTile(source, source.size(0), block.Mlp.Width, (start, count) =>
        {
            var (rows, own) = (source.narrow(0, start, count), kept.SelectTile(start));
            if (!block.IsParallel)
                rows = rows.add(ProjectOutput(block, heads.narrow(0, start, count), rows, own), Scalars.One);
            var (normed, tile) = (block.MlpNorm.Forward(rows), gradient.narrow(0, start, count));
            block.Tail?.Backward(
                () => rows.add(block.MlpEnd.Forward(block.Mlp.Forward(normed, own)), Scalars.One),
                tile,
                start,
                context.Side
            );
            tile.add_(block.MlpNorm.Backward(rows, block.Mlp.Backward(normed, tile, block.MlpEnd, own)), Scalars.One);
        });
    }

    private static void BackwardAttention(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor outputGradient,
        Tensor gradient,
        ForwardContext context,
        Workspace workspace,
        KeptActivations kept
    )
    {
        using var scope = NewDisposeScope();
        var (inputRows, headRows) = (ToRows(input), ToHeadRows(attended.Output));
        outputGradient = BackwardEnd(block, inputRows, headRows, outputGradient, workspace, kept);
        block.AttentionOutput.AccumulateGradients(GatePass.ApplyToAll(block, headRows, inputRows, workspace), outputGradient);
        var normedGradient = workspace.TakeLike("normed gradient", input).zero_();
        var gradientRows = ToRows(normedGradient);
        if (block.Recurrence is null)
            BackwardHeads(block, input, attended, outputGradient, normedGradient, context, workspace, kept);
        else
            RecurrencePass.Backward(block, input, attended, outputGradient, normedGradient, context);
        GatePass.Backward(block, headRows, inputRows, outputGradient, gradientRows);
        ForEachTile(inputRows, inputRows.size(0), inputRows.size(1), (start, count) =>
        {
            var ofNorm = block.AttentionNorm.Backward(inputRows.narrow(0, start, count), gradientRows.narrow(0, start, count));
            gradient.narrow(0, start, count).add_(ofNorm, Scalars.One);
        });
    }

    // Adds the gradient of the norm's output, [B, L, D], that comes through queries, keys and values.
    private static void BackwardHeads(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor outputGradient,
        Tensor normedGradient,
        ForwardContext context,
        Workspace workspace,
        KeptActivations kept
    )
    {
        var (batch, length) = (input.size(0), input.size(1));
        ForEachHeadGroup(block, input, context, (first, count) =>
        {
            var (query, key, value, heads) = Project(block, input, first, count, context, workspace, kept);
            var gradients = block
                .Adapt(context.Attention)
                .Backward(
                    ComputeHeadGradient(block, ToRows(input), outputGradient, query, heads, workspace),
                    query,
                    key,
                    value,
                    SelectHeads(attended, heads),
                    context.DocumentLengths,
                    heads,
                    into: (
                        workspace.TakeHeads("query gradient", query, query.size(1), length),
                        workspace.TakeHeads("key gradient", key, key.size(1), length),
                        workspace.TakeHeads("value gradient", value, value.size(1), length)
                    )
                );
            if (block.KeysOf is { } source)
                context.Side!.AddKeyGradients(source, first, gradients.Key, gradients.Value);
            if (block.SharesKeys)
                context.Side!.AddTo(block.Index, first, gradients.Key, gradients.Value);
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
                            NarrowPositions(context, start, size)
                        ),
                        Scalars.One
                    );
            });
        });
    }

    private static AttentionResult Attend(
        DecoderBlock block,
        Tensor hidden,
        ForwardContext context,
        Workspace workspace,
        KeptActivations kept
    )
    {
        using var scope = NewDisposeScope();
        AttentionResult? all = null;
        ForEachHeadGroup(block, hidden, context, (first, count) =>
        {
            var (query, key, value, heads) = Project(block, hidden, first, count, context, workspace, kept);
            if (block.SharesKeys)
                context.Side!.Keep(block.Index, first, block.HeadGroups, key, value);
            all ??= AllocateResult(query, heads.Total, context.Attention.KeepsLogSumExp(query.device), kept.AttendedMemory);
            block.Adapt(context.Attention).Forward(query, key, value, context.DocumentLengths, heads, into: SelectHeads(all.Value, heads));
        });
        return new(all!.Value.Output.MoveToOuterDisposeScope(), all.Value.LogSumExp?.MoveToOuterDisposeScope());
    }

    private static AttentionInputs Project(
        DecoderBlock block,
        Tensor hidden,
        int first,
        int count,
        ForwardContext context,
        Workspace workspace,
        KeptActivations kept
    ) => kept.RecallHeads(first, workspace, buffers => Project(block, hidden, first, count, context, buffers));

    // Norm and projections of some head groups, tile by tile. The whole output of the norm never exists.
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
                NarrowPositions(context, start, size)
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
    private static Tensor ComputeHeadGradient(
        DecoderBlock block,
        Tensor input,
        Tensor outputGradient,
        Tensor query,
        HeadSlice heads,
        Workspace workspace
    )
    {
        using var scope = NewDisposeScope();
        var (layer, headSize) = (block.AttentionOutput, query.size(3));
        var result = workspace.TakeHeads("head gradient", query, heads.Count, query.size(2));
        var rows = ToHeadRows(result);
        ForEachTile(rows, rows.size(0), layer.OutputSize, (start, count) =>
            rows.narrow(0, start, count)
                .copy_(
                    GatePass.ApplyToGradient(
                        block,
                        layer.ComputeInputGradient(
                            outputGradient.narrow(0, start, count),
                            new FeatureSlice(heads.First * headSize, heads.Count * headSize)
                        ),
                        input.narrow(0, start, count),
                        heads.First * headSize
                    )
                )
        );
        return result.MoveToOuterDisposeScope();
    }

    // This result is kept, in the layout of the projections.
    private static AttentionResult AllocateResult(Tensor query, long heads, bool withLogSumExp, Workspace? memory)
    {
        Tensor Allocate(string name, ScalarType type, params long[] shape) =>
            (memory?.Take(name, type, query.device, shape) ?? HostMemory.AllocateApart(() => empty(shape, type, query.device)))
                .transpose(1, 2)
                .MoveToOuterDisposeScope();
        var (batch, length) = (query.size(0), query.size(2));
        return new(
            Allocate("attended", query.dtype, batch, length, heads, query.size(3)),
            withLogSumExp ? Allocate("log-sum-exp", ScalarType.Float32, batch, length, heads) : null
        );
    }

    private static AttentionResult SelectHeads(AttentionResult all, HeadSlice heads) =>
        new(all.Output.narrow(1, heads.First, heads.Count), all.LogSumExp?.narrow(1, heads.First, heads.Count));

    private static ForwardContext NarrowPositions(ForwardContext context, long start, long count) =>
        count == context.Positions.Length
            ? context
            : context with
            {
                Positions = context.Positions.Narrow(start, count),
                Side = context.Side?.Narrow(start, count),
            };

    // What the attention branch adds, for heads [l, H K] and the block's input [l, D].
    private static Tensor ProjectOutput(DecoderBlock block, Tensor heads, Tensor input, KeptTile kept) =>
        block.AttentionEnd.Forward(RunOutput(block, heads, input, kept));

    private static Tensor RunOutput(DecoderBlock block, Tensor heads, Tensor input, KeptTile kept) =>
        kept.Run(ActivationKinds.AttentionOutput, block.AttentionOutput, () => GatePass.Apply(block, heads, input));

    // The gradient of the output projection's result, [B L, D]: what was added is that, or a norm or a multiple of it.
    private static Tensor BackwardEnd(
        DecoderBlock block,
        Tensor input,
        Tensor heads,
        Tensor gradient,
        Workspace workspace,
        KeptActivations kept
    )
    {
        if (block.AttentionEnd == BranchEnd.None)
            return gradient;
        using var scope = NewDisposeScope();
        var result = workspace.TakeLike("ended gradient", gradient);
        ForEachTile(gradient, gradient.size(0), block.Mlp.Width, (start, count) =>
        {
            Tensor Rows(Tensor all) => all.narrow(0, start, count);
            Rows(result)
                .copy_(
                    block.AttentionEnd.Backward(() => RunOutput(block, Rows(heads), Rows(input), kept.SelectTile(start)), Rows(gradient))
                );
        });
        return result.MoveToOuterDisposeScope();
    }

    internal static void ForEachTile(Tensor of, long total, long width, Action<long, long> action)
    {
        var tile = CountTileRows(width, IsOnGpu(of));
        for (long start = 0; start < total; start += tile)
        {
            using (NewDisposeScope())
                action(start, Math.Min(tile, total - start));
            HostMemory.TrimIfGrown();
            Liveness.Tick();
        }
    }

    private static void ForEachHeadGroup(DecoderBlock block, Tensor hidden, ForwardContext context, Action<int, int> action)
    {
        var tokens = context.TokensForHeads ?? hidden.size(0) * hidden.size(1);
        var size = CountGroupsAtOnce(tokens, block.AttentionOutput.InputSize, block.HeadGroups, IsOnGpu(hidden));
        for (var first = 0; first < block.HeadGroups; first += size)
        {
            using var scope = NewDisposeScope();
            action(first, Math.Min(size, block.HeadGroups - first));
            Liveness.Tick();
        }
    }

    private static bool IsOnGpu(Tensor tensor) => tensor.device_type != DeviceType.CPU;

    // [B, L, D] -> [B L, D]
    private static Tensor ToRows(Tensor hidden) => hidden.view(-1, hidden.size(2));

    // [B, H, L, K] with the strides of [B, L, H, K] -> [B L, H K]
    private static Tensor ToHeadRows(Tensor heads) => heads.transpose(1, 2).reshape(-1, heads.size(1) * heads.size(3));
}
