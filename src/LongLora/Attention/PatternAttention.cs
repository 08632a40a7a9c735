using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, L tokens, H query heads, J key-value heads (a divisor of H), K head size, G group, n groups

/// <summary>
/// Attention inside groups of tokens, computed on views: one call of the fused causal kernel computes one <see cref="TokenGroups"/>, with
/// the groups as its batch. There is no mask, no roll and no copy of keys and values. Patterns differ only in their groups.
/// </summary>
public abstract class PatternAttention : IAttention
{
    private int _window = int.MaxValue;
    private double? _cap;
    private Weight? _sinks;
    private IReadOnlyList<AttentionPattern>? _given;

    /// <summary>Elements in one result of a kernel: 4 MiB in fp32 on the CPU; more on a GPU, which needs much work at once.</summary>
    internal static long MaxKernelElements(bool onGpu) => onGpu ? 256 << 20 : 1 << 20;

    /// <inheritdoc/>
    public bool KeepsLogSumExp(Device device) => device.type == DeviceType.CPU && !IsByAutograd;

    /// <summary>Whether the CPU also uses the path of devices whose kernels are not called directly. Tests use this.</summary>
    internal bool IsByAutograd { get; init; }

    /// <inheritdoc/>
    public IAttention Within(int window)
    {
        if (window < 1)
            throw new ShapeException($"The sliding window has {window} tokens. It needs at least 1.");
        var limited = (PatternAttention)MemberwiseClone();
        limited._window = Math.Min(_window, window);
        return limited;
    }

    /// <inheritdoc/>
    public IAttention WithScoreCap(double cap)
    {
        var capped = (PatternAttention)MemberwiseClone();
        capped._cap = cap;
        return capped;
    }

    /// <inheritdoc/>
    public IAttention WithSinks(Weight sinks)
    {
        var with = (PatternAttention)MemberwiseClone();
        with._sinks = sinks;
        return with;
    }

    /// <summary>
    /// The same attention in given groups, whatever the length of the text. Tokens in none of the groups are left as they are: a part of a
    /// text, of which others compute the rest.
    /// </summary>
    /// <param name="patterns">The groups, one pattern for each row of the whole text. The queries have one row.</param>
    internal PatternAttention WithGroups(IReadOnlyList<AttentionPattern> patterns)
    {
        var limited = (PatternAttention)MemberwiseClone();
        limited._given = patterns;
        return limited;
    }

    /// <inheritdoc/>
    public AttentionPattern MakePattern(int length) => Divide(length) with { Window = _window };

    /// <summary>Divides the tokens into attention groups; the window is applied separately.</summary>
    /// <param name="length">L.</param>
    protected abstract AttentionPattern Divide(int length);

    /// <inheritdoc/>
    public Tensor Attend(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null
    )
    {
        CheckShapes(query, key, value);
        using var scope = NewDisposeScope();
        // Outputs are joined along L, then along H, then row by row.
        var rows = SplitRows(query, documentLengths)
            .Select(row =>
                Concatenate(
                    1,
                    SplitHeads(query, key, row.Pattern, heads)
                        .Select(range =>
                            Concatenate(
                                2,
                                range.Groups.Select(groups =>
                                    JoinGroups(
                                        AttendCausally(
                                            range.SelectQueries(query, row, groups),
                                            range.SelectShared(key, row, groups),
                                            range.SelectShared(value, row, groups),
                                            GetGroupWindow(groups),
                                            SelectSinks(range, heads)
                                        ),
                                        row.Count,
                                        groups
                                    )
                                )
                            )
                        )
                )
            );
        return Concatenate(0, rows).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public AttentionResult Forward(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null,
        AttentionResult? into = null
    )
    {
        using var noGradient = no_grad();
        CheckShapes(query, key, value);
        var (output, logSumExp) = into is { } given
            ? (given.Output, given.LogSumExp)
            : (
                AllocateTokenMajor(query),
                KeepsLogSumExp(query.device)
                    ? empty([query.size(0), query.size(2), query.size(1)], ScalarType.Float32).transpose(1, 2)
                    : null
            ); // [B, H, L], heads innermost
        ForEachCall(query, key, documentLengths, heads, (row, range, groups) =>
        {
            Tensor q = range.SelectQueries(query, row, groups),
                k = range.SelectShared(key, row, groups),
                v = range.SelectShared(value, row, groups);
            var sinks = SelectSinks(range, heads);
            if (logSumExp is null && _cap is null)
            {
                range.SelectQueries(output, row, groups).copy_(AttendCausally(q, k, v, GetGroupWindow(groups), sinks));
                return;
            }
            var o = range.SelectQueries(output, row, groups);
            var l = RunForwardKernel(o, q, k, v, GetGroupWindow(groups));
            if (sinks is not null)
                l = AttentionSinks.Join(o, l, sinks);
            if (logSumExp is not null)
                range.SelectQueries(logSumExp.unsqueeze(3), row, groups).squeeze(3).copy_(l);
        });
        return new(output, logSumExp);
    }

    /// <inheritdoc/>
    public (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        AttentionResult result,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null,
        (Tensor Query, Tensor Key, Tensor Value)? into = null
    )
    {
        using var noGradient = no_grad();
        var (queryGradient, keyGradient, valueGradient) = into
            ?? (AllocateTokenMajor(query), AllocateTokenMajor(key), AllocateTokenMajor(value));
        keyGradient.zero_();
        valueGradient.zero_();
        ForEachCall(query, key, documentLengths, heads, (row, range, groups) =>
        {
            Tensor g = range.SelectQueries(gradient, row, groups),
                q = range.SelectQueries(query, row, groups),
                k = range.SelectShared(key, row, groups),
                v = range.SelectShared(value, row, groups);
            var sinks = SelectSinks(range, heads);
            if (result.LogSumExp is null && _cap is null)
                (q, k, v) = RunBackwardByAutograd(g, q, k, v, GetGroupWindow(groups), sinks, SelectSinkGradient(range, heads));
            else
            {
                var (o, l) = result.LogSumExp is { } logSumExp
                    ? (range.SelectQueries(result.Output, row, groups), range.SelectQueries(logSumExp.unsqueeze(3), row, groups).squeeze(3))
                    : RunForwardKernelAgain(q, k, v, GetGroupWindow(groups));
                if (result.LogSumExp is null && sinks is not null)
                    l = AttentionSinks.Join(o, l, sinks);
                if (SelectSinkGradient(range, heads) is { } sinkGradient)
                    AttentionSinks.AddGradient(sinkGradient, sinks!, g, o, l);
                if (_cap is null && !range.SharesHeads && q.size(2) <= GetGroupWindow(groups))
                {
                    FlashAttention.BackwardInto(
                        (
                            range.SelectQueries(queryGradient, row, groups),
                            range.SelectShared(keyGradient, row, groups),
                            range.SelectShared(valueGradient, row, groups)
                        ),
                        g,
                        q,
                        k,
                        v,
                        o,
                        l,
                        causal: true
                    );
                    return;
                }
                (q, k, v) = RunBackwardKernel(g, q, k, v, o, l, GetGroupWindow(groups));
            }
            range.SelectQueries(queryGradient, row, groups).copy_(q);
            // Two ranges share a key-value head if the cut at H/2 falls between its query heads.
            range.SelectShared(keyGradient, row, groups).add_(k, Scalars.One);
            range.SelectShared(valueGradient, row, groups).add_(v, Scalars.One);
        });
        return (queryGradient, keyGradient, valueGradient);
    }

    private void ForEachCall(
        Tensor query,
        Tensor key,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths,
        HeadSlice? heads,
        Action<RowRange, HeadRange, TokenGroups> action
    )
    {
        foreach (var row in SplitRows(query, documentLengths))
        {
            foreach (var range in SplitHeads(query, key, row.Pattern, heads))
            {
                foreach (
                    var groups in range.Groups.SelectMany(g =>
                        SplitForKernel(g, range.Count * query.size(3), MaxKernelElements(query.device_type != DeviceType.CPU))
                    )
                )
                {
                    // Rows of a batch can be one view only where the groups cover the row.
                    for (var first = 0; first < row.Count; first += CountRowsPerCall(row, groups, query.size(2)))
                    {
                        using var scope = NewDisposeScope();
                        action(row with { First = row.First + first, Count = CountRowsPerCall(row, groups, query.size(2)) }, range, groups);
                    }
                }
            }
        }
    }

    // Results of the kernel are copied and dropped. Splitting keeps them small compared with the tensors that are kept.
    private static IEnumerable<TokenGroups> SplitForKernel(TokenGroups groups, long width, long most)
    {
        var count = groups.Interleaved ? groups.Count : (int)Math.Clamp(most / (width * groups.Length), 1, groups.Count);
        for (var first = 0; first < groups.Count; first += count)
            yield return groups with
            {
                Start = groups.Start + first * groups.Length,
                Count = Math.Min(count, groups.Count - first),
            };
    }

    private static int CountRowsPerCall(RowRange row, TokenGroups groups, long length) =>
        groups.Count == 1 || (!groups.Interleaved && groups.Length * (long)groups.Count == length) ? row.Count : 1;

    // Without documents, all rows have the same pattern and are computed together. With documents, each row is computed alone.
    private IEnumerable<RowRange> SplitRows(Tensor query, IReadOnlyList<IReadOnlyList<int>>? documentLengths) =>
        _given is not null ? _given.Select(pattern => new RowRange(0, (int)query.size(0), pattern))
        : documentLengths is null ? [new RowRange(0, (int)query.size(0), MakePattern((int)query.size(2)))]
        : documentLengths.Select((documents, row) => new RowRange(row, 1, AttentionPattern.Join(documents, MakePattern)));

    // Query heads with the key-value heads that they use, split at H/2. If the split falls between two query heads that share a key-value
    // head, both sides get that head.
    private static IEnumerable<HeadRange> SplitHeads(Tensor query, Tensor key, AttentionPattern pattern, HeadSlice? heads)
    {
        long count = query.size(1),
            group = count / key.size(1);
        var half = pattern.IsSplit ? HeadSlice.CountLower(heads, count) : 0;
        foreach (var (from, to, groups) in new[] { (0L, half, pattern.Lower), (half, count, pattern.Upper) })
        {
            for (var at = from; at < to; )
            {
                // Up to the end of a shared head that has started, or all whole shared heads, or the rest of the last one.
                var end =
                    at % group != 0 ? Math.Min(to, (at / group + 1) * group)
                    : to - at >= group ? to - (to - at) % group
                    : to;
                yield return new(at, end - at, at / group, (end - at + group - 1) / group, at % group != 0 || end % group != 0, groups);
                at = end;
            }
        }
    }

    // [B, H, L, K] with the strides of [B, L, H, K], the layout of the projections.
    private static Tensor AllocateTokenMajor(Tensor like) =>
        empty([like.size(0), like.size(2), like.size(1), like.size(3)], like.dtype, like.device).transpose(1, 2);

    private static Tensor Concatenate(long dimension, IEnumerable<Tensor> parts)
    {
        var list = parts.ToList();
        return list.Count == 1 ? list[0] : cat(list, dimension);
    }

    // [B n, H, G, K] -> [B, H, n G, K]
    private static Tensor JoinGroups(Tensor output, long batch, TokenGroups groups) =>
        groups.Count == 1 ? output
        : groups.Interleaved ? output.unflatten(0, [batch, groups.Count]).permute(0, 2, 3, 1, 4).flatten(2, 3)
        : output.unflatten(0, [batch, groups.Count]).transpose(1, 2).flatten(2, 3);

    // The window counts tokens of the text. An interleaved group holds only its share of them.
    private int GetGroupWindow(TokenGroups groups) => AttentionPattern.GetGroupWindow(groups, _window);

    // The logits of some heads; a view.
    private Tensor? SelectSinks(HeadRange range, HeadSlice? heads) =>
        _sinks?.Value.narrow(0, (heads?.First ?? 0) + range.First, range.Count);

    private Tensor? SelectSinkGradient(HeadRange range, HeadSlice? heads) =>
        _sinks is { IsTrained: true } ? _sinks.GetGradient().narrow(0, (heads?.First ?? 0) + range.First, range.Count) : null;

    private Tensor AttendCausally(Tensor query, Tensor key, Tensor value, int window, Tensor? sinks)
    {
        if (_cap is { } cap)
            return CappedAttention.Attend(query, key, value, window, cap, sinks);
        if (sinks is not null)
            return AttentionSinks.Attend(query, key, value, sinks, window);
        if (query.size(2) > window)
            return SlidingWindow.Attend(query, key, value, window);
        // CUDA's flash kernel accepts shared heads but not fp32. Its kernel for fp32 may not accept shared heads. If neither fits, libtorch
        // makes the scores as a matrix [L, L].
        var times = query.size(1) / key.size(1);
        if (times > 1 && query.device_type != DeviceType.CPU && query.dtype == ScalarType.Float32)
            (key, value) = (key.repeat_interleave(times, 1), value.repeat_interleave(times, 1));
        return Dispatcher.ScaledDotProductAttention(query, key, value, null, query.size(2) > 1);
    }

    // Writes the output and returns the log-sum-exp.
    private Tensor RunForwardKernel(Tensor output, Tensor query, Tensor key, Tensor value, int window)
    {
        if (_cap is null && query.size(2) <= window)
            return FlashAttention.ForwardInto(output, query, key, value, causal: true);
        var (made, logSumExp) = _cap is { } cap
            ? CappedAttention.Forward(query, key, value, window, cap)
            : SlidingWindow.Forward(query, key, value, window);
        output.copy_(made);
        return logSumExp;
    }

    private (Tensor Output, Tensor LogSumExp) RunForwardKernelAgain(Tensor query, Tensor key, Tensor value, int window)
    {
        var output = AllocateTokenMajor(query);
        return (output, RunForwardKernel(output, query, key, value, window));
    }

    private (Tensor, Tensor, Tensor) RunBackwardKernel(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        int window
    ) =>
        _cap is { } cap ? CappedAttention.Backward(gradient, query, key, value, output, logSumExp, window, cap)
        : query.size(2) > window ? SlidingWindow.Backward(gradient, query, key, value, output, logSumExp, window)
        : FlashAttention.Backward(gradient, query, key, value, output, logSumExp, causal: true);

    // Runs the forward pass again for these groups alone.
    private (Tensor, Tensor, Tensor) RunBackwardByAutograd(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        int window,
        Tensor? sinks,
        Tensor? sinkGradient
    )
    {
        Tensor[] leaves = [.. new[] { query, key, value }.Select(t => t.detach().requires_grad_(true))];
        var sinkLeaf = sinks?.detach().requires_grad_(sinkGradient is not null);
        using (enable_grad())
            AttendCausally(leaves[0], leaves[1], leaves[2], window, sinkLeaf).backward([gradient]);
        sinkGradient?.add_(sinkLeaf!.grad!, Scalars.One);
        return (leaves[0].grad!, leaves[1].grad!, leaves[2].grad!);
    }

    private static void CheckShapes(Tensor query, Tensor key, Tensor value)
    {
        long[] q = query.shape,
            k = key.shape,
            v = value.shape;
        if (
            q.Length != 4
            || k.Length != 4
            || !k.SequenceEqual(v)
            || k[1] == 0
            || q[1] % k[1] != 0
            || q[0] != k[0]
            || q[2] != k[2]
            || q[3] != k[3]
        )
            throw new ShapeException(
                "Attention needs query [B, H, L, K] and key and value [B, J, L, K] with J a divisor of H, but the shapes are "
                    + $"[{string.Join(", ", q)}], [{string.Join(", ", k)}], [{string.Join(", ", v)}]."
            );
    }

    private readonly record struct RowRange(int First, int Count, AttentionPattern Pattern);

    private readonly record struct HeadRange(
        long First,
        long Count,
        long SharedFirst,
        long SharedCount,
        bool SharesHeads,
        IReadOnlyList<TokenGroups> Groups
    )
    {
        internal Tensor SelectQueries(Tensor heads, RowRange row, TokenGroups groups) =>
            SplitIntoGroups(heads.narrow(0, row.First, row.Count).narrow(1, First, Count), groups);

        internal Tensor SelectShared(Tensor heads, RowRange row, TokenGroups groups) =>
            SplitIntoGroups(heads.narrow(0, row.First, row.Count).narrow(1, SharedFirst, SharedCount), groups);

        // [B, H, L, K] -> [B n, H, G, K]; a view if B = 1 or the groups cover the row, else a copy.
        private static Tensor SplitIntoGroups(Tensor heads, TokenGroups groups)
        {
            var tokens = heads.narrow(2, groups.Start, groups.Length * groups.Count);
            return groups.Count == 1 ? tokens
                : groups.Interleaved ? tokens.unflatten(2, [groups.Length, groups.Count]).permute(0, 3, 1, 2, 4).flatten(0, 1)
                : tokens.unflatten(2, [groups.Count, groups.Length]).transpose(1, 2).flatten(0, 1);
        }
    }
}
