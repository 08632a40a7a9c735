using LongLora.Attention;
using LongLora.Positions;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

// B rows, l new tokens of a row, n tokens of a row with them, D model size, H heads, J key-value heads, K head size

/// <summary>
/// The forward pass at inference, outside autograd. New tokens look at each other and at everything in the cache. Attention is full inside
/// the model's window, if it has one, or limited to the sinks and the window of a streamed text.
/// </summary>
internal static class CachedPass
{
    /// <summary>Reads the next tokens of one row.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">l token ids, at least 1.</param>
    /// <param name="cache">Keys and values; those of the new tokens are added.</param>
    /// <param name="row">The row.</param>
    /// <param name="positions">Tables for the whole capacity.</param>
    /// <param name="last">
    /// How many of the last tokens' states are wanted; null for all. The last block computes no others: of those it only needs keys and
    /// values.
    /// </param>
    /// <returns>[l, D], or [last, D]: hidden states after the final norm.</returns>
    public static Tensor Read(
        CausalLanguageModel model,
        ReadOnlySpan<long> ids,
        KeyValueCache cache,
        int row,
        RotaryEmbedding positions,
        int? last = null
    )
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var start = cache.GetLength(row);
        Require(cache, row, ids.Length);
        using var tokens = tensor(ids.ToArray(), [1, ids.Length], device: model.Device);
        var hidden = Walk(model, tokens, [new(cache, row)], positions.Narrow(start, ids.Length), last);
        cache.Advance(row, ids.Length);
        return hidden.MoveToOuterDisposeScope();
    }

    /// <summary>Reads one token for each of several rows, whose lengths may differ.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">One token id per row.</param>
    /// <param name="cache">Keys and values; those of the new tokens are added.</param>
    /// <param name="rows">The rows, each once.</param>
    /// <param name="positions">Tables for the whole capacity.</param>
    /// <returns>[rows, D], hidden states after the final norm.</returns>
    public static Tensor Step(
        CausalLanguageModel model,
        ReadOnlySpan<long> ids,
        KeyValueCache cache,
        IReadOnlyList<int> rows,
        RotaryEmbedding positions
    ) => Step(model, ids, [.. rows.Select(row => new CachedRow(cache, row))], positions);

    /// <summary>Reads one token for each of several rows, of one cache or of several.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">One token id per row.</param>
    /// <param name="rows">The rows, each once; keys and values of the new tokens are added.</param>
    /// <param name="positions">Tables for the whole capacity of each cache.</param>
    /// <returns>[rows, D], hidden states after the final norm.</returns>
    public static Tensor Step(CausalLanguageModel model, ReadOnlySpan<long> ids, IReadOnlyList<CachedRow> rows, RotaryEmbedding positions)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        foreach (var row in rows)
            Require(row.Cache, row.Row, 1);
        using var tokens = tensor(ids.ToArray(), [ids.Length, 1], device: model.Device);
        var starts = rows.Select(row => row.Length).ToArray();
        var hidden = Walk(model, tokens, rows, rows.Count == 1 ? positions.Narrow(starts[0], 1) : positions.ForRows(starts));
        foreach (var row in rows)
            row.Cache.Advance(row.Row, 1);
        return hidden.MoveToOuterDisposeScope();
    }

    /// <summary>Reads the next tokens of a streamed text, which may be endless.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">l token ids, any number.</param>
    /// <param name="cache">Sinks and window; updated with the new tokens.</param>
    /// <param name="cancellation">Checked between chunks.</param>
    /// <returns>[l, D], hidden states after the final norm.</returns>
    public static Tensor Read(
        CausalLanguageModel model,
        ReadOnlySpan<long> ids,
        StreamingCache cache,
        CancellationToken cancellation = default
    )
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        if (ids.IsEmpty)
            throw new ShapeException("Cannot process 0 tokens. Give at least one.");
        var parts = new List<Tensor>();
        for (var start = 0; start < ids.Length; start += cache.ChunkTokens)
        {
            cancellation.ThrowIfCancellationRequested();
            var chunk = ids[start..Math.Min(ids.Length, start + cache.ChunkTokens)];
            using var step = cache.Begin(chunk.Length);
            using var tokens = tensor(chunk.ToArray(), [1, chunk.Length], device: model.Device);
            parts.Add(
                Walk(model, tokens, RotaryEmbedding.None, (block, inputs) =>
                    cache.Attend(block, inputs.Query, inputs.Key, inputs.Value, step)
                )
            );
            cache.Advance(step);
        }
        return (parts.Count == 1 ? parts[0] : cat(parts, 0)).MoveToOuterDisposeScope();
    }

    private static void Require(KeyValueCache cache, int row, int count)
    {
        if (cache.GetLength(row) + count > cache.Capacity)
            throw new ShapeException(
                $"Cannot add {count} tokens to row {row}, which holds {cache.GetLength(row)}: the cache has room for "
                    + $"{cache.Capacity} tokens."
            );
    }

    private static Tensor Walk(
        CausalLanguageModel model,
        Tensor ids,
        IReadOnlyList<CachedRow> rows,
        RotaryEmbedding positions,
        int? last = null
    )
    {
        Tensor AttendRows(int block, AttentionInputs inputs)
        {
            Tensor Row(CachedRow row, Tensor query, Tensor key, Tensor value)
            {
                var (keys, values) = row.Cache.Append(block, row.Row, key, value, model.Blocks[block].Window);
                return Attend(model.Blocks[block], query, keys, values);
            }
            return rows.Count == 1
                ? Row(rows[0], inputs.Query, inputs.Key, inputs.Value)
                : cat(
                    [
                        .. rows.Select(
                            (row, b) => Row(row, inputs.Query.narrow(0, b, 1), inputs.Key.narrow(0, b, 1), inputs.Value.narrow(0, b, 1))
                        ),
                    ],
                    0
                );
        }
        Tensor RunRows(int block, Tensor normed) =>
            rows.Count == 1
                ? rows[0].Cache.Run(block, rows[0].Row, normed)
                : cat([.. rows.Select((row, b) => row.Cache.Run(block, row.Row, normed.narrow(0, b, 1)))], 0);
        return Walk(model, ids, positions, AttendRows, RunRows, last);
    }

    // ids [B, l] -> [B l, D], or [last, D] of one row;
    // attend returns [B, H, l, K] for a block and its heads, recur [B, l, W] for a block and its normalized input
    private static Tensor Walk(
        CausalLanguageModel model,
        Tensor ids,
        RotaryEmbedding positions,
        Func<int, AttentionInputs, Tensor> attend,
        Func<int, Tensor, Tensor>? recur = null,
        int? last = null
    )
    {
        using var scope = NewDisposeScope();
        long[] shape = [ids.size(0), ids.size(1), model.Config.HiddenSize];
        var hidden = model.Embedding.Forward(ids, model.ComputeType).view(-1, shape[2]);
        using var small = SmallWork.Allow(shape[1] == 1);
        if (shape[1] == 1 && !ReferenceEquals(positions, RotaryEmbedding.None))
            positions = positions.ForFewTokens(model.ComputeType);
        using var side = model.OpenSide(ids, hidden);
        var context = new ForwardContext(s_full, positions) { Side = side };
        for (var i = 0; i < model.Blocks.Count; i++)
        {
            using var inner = NewDisposeScope();
            var block = model.Blocks[i];
            var normed = block.AttentionNorm.Forward(hidden).view(shape);
            var skipped = i == model.Blocks.Count - 1 && last < shape[1] ? shape[1] - last.Value : 0;
            Tensor SkipTokens(Tensor tensor, int dimension) =>
                skipped == 0 ? tensor : tensor.narrow(dimension, skipped, shape[1] - skipped);
            if (skipped > 0)
                hidden = SkipTokens(hidden, 0).MoveToOuterDisposeScope();
            Tensor heads;
            if (block.Recurrence is null)
            {
                var inputs = Project(block, normed, context);
                heads = attend(i, inputs with { Query = SkipTokens(inputs.Query, 2) });
            }
            else
                heads = SkipTokens(recur!(i, normed), 1);
            if (block.Recurrence is null && shape[1] > 1)
                heads = heads.transpose(1, 2);
            heads = heads.reshape(-1, block.AttentionOutput.InputSize); // -> [B l, H K]
            if (block.HasGate)
                heads = heads.mul(block.ComputeGate(SkipTokens(normed, 1)));
            var output = block.AttentionOutput.Forward(heads); // -> [B l, D]
            output = block.AttentionEnd.Forward(output);
            if (!block.IsParallel)
                hidden.add_(output, Scalars.One);
            var mlp = block.MlpEnd.Forward(block.Mlp.Forward(block.MlpNorm.Forward(hidden)));
            if (block.IsParallel)
                hidden.add_(output, Scalars.One);
            hidden.add_(mlp, Scalars.One);
            if (block.Tail is { } tail)
                hidden.copy_(tail.Forward(hidden, skipped, side));
            Liveness.Tick();
        }
        return model.FinalNorm.Forward(hidden).MoveToOuterDisposeScope();
    }

    // Keys and values that later blocks use outlive the block's scope.
    private static AttentionInputs Project(DecoderBlock block, Tensor normed, ForwardContext context)
    {
        var inputs = block.Project(normed, 0, block.HeadGroups, context);
        if (block.SharesKeys)
            context.Side!.Show(block.Index, inputs.Key.MoveToOuterDisposeScope(), inputs.Value.MoveToOuterDisposeScope());
        return inputs;
    }

    private static readonly FullAttention s_full = new();

    // [1, H, l, K] against [1, J, n, K]: the last l keys belong to the queries themselves.
    private static Tensor Attend(DecoderBlock block, Tensor query, StoredHeads keys, StoredHeads values)
    {
        using var scope = NewDisposeScope();
        var window = block.Window;
        if (TokenAttention.Takes(query) && block is { ScoreCap: null, Sinks: null } && !(window < keys.Tokens))
            return TokenAttention.Attend(query, keys, values).MoveToOuterDisposeScope();
        var (key, value) = (keys.Widen(query.dtype), values.Widen(query.dtype));
        if (block.ScoreCap is { } cap)
            return CappedAttention.Forward(query, key, value, window ?? int.MaxValue, cap).Output.MoveToOuterDisposeScope();
        if (block.Sinks is { } sinks)
            return AttentionSinks.AttendLast(query, key, value, sinks.Value, window).MoveToOuterDisposeScope();
        if (window < key.size(2))
            return SlidingWindow.Attend(query, key, value, window.Value).MoveToOuterDisposeScope();
        long fresh = query.size(2),
            past = key.size(2) - fresh;
        if (fresh == 1)
            return AttendOne(query, key, value).MoveToOuterDisposeScope();
        if (past == 0 && query.device_type == DeviceType.CPU)
            return FlashAttention.Forward(query, key, value, causal: true).Output.MoveToOuterDisposeScope();
        if (past == 0)
            return Dispatcher.ScaledDotProductAttention(query, key, value, null, causal: true).MoveToOuterDisposeScope();
        if (query.device_type != DeviceType.CPU)
        {
            // The kernels align "causal" to the first key.
            var mask = ones([fresh, past + fresh], ScalarType.Bool, query.device).tril(past);
            return MaskedAttention.Attend(query, key, value, mask).MoveToOuterDisposeScope();
        }
        // All of the past, and the present causally, joined by their log-sum-exps. It needs no mask; the kernel with masks is half as fast.
        var (before, beforeSum) = FlashAttention.Forward(query, key.narrow(2, 0, past), value.narrow(2, 0, past), causal: false);
        var (present, presentSum) = FlashAttention.Forward(query, key.narrow(2, past, fresh), value.narrow(2, past, fresh), causal: true);
        AttentionJoin.Add(present, presentSum, before, beforeSum);
        return present.MoveToOuterDisposeScope();
    }

    // A single token sees everything, so the query heads of a key-value head can be treated as tokens. This needs no repeated keys.
    private static Tensor AttendOne(Tensor query, Tensor key, Tensor value)
    {
        long heads = query.size(1),
            groups = key.size(1),
            size = query.size(3);
        var queries = heads == groups ? query : query.reshape(1, groups, heads / groups, size); // [1, H, 1, K] -> [1, J, H/J, K]
        var output = nn.functional.scaled_dot_product_attention(queries, key, value);
        return heads == groups ? output : output.reshape(1, heads, 1, size);
    }
}
