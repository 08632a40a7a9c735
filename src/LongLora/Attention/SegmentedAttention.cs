using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, L tokens, H query heads, J key-value heads (a divisor of H), K head size, G group, n groups

/// <summary>
/// Attention inside stretches of tokens, computed on views: each run of equal stretches is one call of the fused causal kernel with the
/// stretches as its batch. No mask, no roll, no copy of keys and values; the patterns differ in nothing but their runs.
/// </summary>
public abstract class SegmentedAttention : IAttention
{
    private int _window = int.MaxValue;

    /// <summary>Elements of one result of a kernel: on the CPU 4 MiB in fp32; a GPU wants much work at once.</summary>
    internal static long KernelElements(bool onGpu) => onGpu ? 256 << 20 : 1 << 20;

    /// <inheritdoc/>
    public bool KeepsLogSumExp(Device device) => device.type == DeviceType.CPU && !IsByAutograd;

    /// <summary>Whether the CPU too goes the way of the devices whose kernels are not called directly: for tests of that way.</summary>
    internal bool IsByAutograd { get; init; }

    /// <inheritdoc/>
    public IAttention Within(int window)
    {
        if (window < 1)
            throw new ShapeException($"The sliding window has {window} tokens; at least 1 is needed.");
        var limited = (SegmentedAttention)MemberwiseClone();
        limited._window = Math.Min(_window, window);
        return limited;
    }

    /// <inheritdoc/>
    public AttentionPattern Pattern(int length) => Stretches(length) with { Window = _window };

    /// <summary>The pattern, any window aside.</summary>
    /// <param name="length">L.</param>
    protected abstract AttentionPattern Stretches(int length);

    /// <inheritdoc/>
    public Tensor Attend(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? segments = null,
        HeadSlice? heads = null
    )
    {
        CheckShapes(query, key, value);
        using var scope = NewDisposeScope();
        // Outputs are put together along L, then along H, then row by row.
        var rows = Rows(query, segments)
            .Select(row =>
                Concatenate(
                    1,
                    HeadPieces(query, key, row.Pattern, heads)
                        .Select(piece =>
                            Concatenate(
                                2,
                                piece.Runs.Select(run =>
                                    Unstretch(
                                        Causal(
                                            piece.Queries(query, row, run),
                                            piece.Shared(key, row, run),
                                            piece.Shared(value, row, run),
                                            Window(run)
                                        ),
                                        row.Count,
                                        run
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
        IReadOnlyList<IReadOnlyList<int>>? segments = null,
        HeadSlice? heads = null,
        AttentionResult? into = null
    )
    {
        using var noGradient = no_grad();
        CheckShapes(query, key, value);
        var (output, logSumExp) = into is { } given
            ? (given.Output, given.LogSumExp)
            : (
                TokenMajor(query),
                KeepsLogSumExp(query.device)
                    ? empty([query.size(0), query.size(2), query.size(1)], ScalarType.Float32).transpose(1, 2)
                    : null
            ); // [B, H, L], heads innermost
        ForEachRun(query, key, segments, heads, (row, piece, run) =>
        {
            Tensor q = piece.Queries(query, row, run),
                k = piece.Shared(key, row, run),
                v = piece.Shared(value, row, run);
            if (logSumExp is null)
            {
                piece.Queries(output, row, run).copy_(Causal(q, k, v, Window(run)));
                return;
            }
            var (o, l) = ForwardKernel(q, k, v, Window(run));
            piece.Queries(output, row, run).copy_(o);
            piece.Queries(logSumExp.unsqueeze(3), row, run).squeeze(3).copy_(l);
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
        IReadOnlyList<IReadOnlyList<int>>? segments = null,
        HeadSlice? heads = null,
        (Tensor Query, Tensor Key, Tensor Value)? into = null
    )
    {
        using var noGradient = no_grad();
        var (queryGradient, keyGradient, valueGradient) = into ?? (TokenMajor(query), TokenMajor(key), TokenMajor(value));
        keyGradient.zero_();
        valueGradient.zero_();
        ForEachRun(query, key, segments, heads, (row, piece, run) =>
        {
            Tensor g = piece.Queries(gradient, row, run),
                q = piece.Queries(query, row, run),
                k = piece.Shared(key, row, run),
                v = piece.Shared(value, row, run);
            (q, k, v) = result.LogSumExp is { } logSumExp
                ? BackwardKernel(
                    g,
                    q,
                    k,
                    v,
                    piece.Queries(result.Output, row, run),
                    piece.Queries(logSumExp.unsqueeze(3), row, run).squeeze(3),
                    Window(run)
                )
                : BackwardByAutograd(g, q, k, v, Window(run));
            piece.Queries(queryGradient, row, run).copy_(q);
            // Pieces may share a key-value head, where the cut at H/2 goes through its query heads.
            piece.Shared(keyGradient, row, run).add_(k, Scalars.One);
            piece.Shared(valueGradient, row, run).add_(v, Scalars.One);
        });
        return (queryGradient, keyGradient, valueGradient);
    }

    private void ForEachRun(
        Tensor query,
        Tensor key,
        IReadOnlyList<IReadOnlyList<int>>? segments,
        HeadSlice? heads,
        Action<RowRange, HeadPiece, Run> action
    )
    {
        foreach (var row in Rows(query, segments))
        {
            foreach (var piece in HeadPieces(query, key, row.Pattern, heads))
            {
                foreach (
                    var run in piece.Runs.SelectMany(r =>
                        Parts(r, piece.Count * query.size(3), KernelElements(query.device_type != DeviceType.CPU))
                    )
                )
                {
                    // Rows of a batch can be one view only where a run covers the row.
                    for (var first = 0; first < row.Count; first += Together(row, run, query.size(2)))
                    {
                        using var scope = NewDisposeScope();
                        action(row with { First = row.First + first, Count = Together(row, run, query.size(2)) }, piece, run);
                    }
                }
            }
        }
    }

    // What the kernel returns is copied into place and short-lived: parts keep it small beside what waits.
    private static IEnumerable<Run> Parts(Run run, long width, long most)
    {
        var count = run.Interleaved ? run.Count : (int)Math.Clamp(most / (width * run.Length), 1, run.Count);
        for (var first = 0; first < run.Count; first += count)
            yield return run with
            {
                Start = run.Start + first * run.Length,
                Count = Math.Min(count, run.Count - first),
            };
    }

    private static int Together(RowRange row, Run run, long length) =>
        run.Count == 1 || (!run.Interleaved && run.Length * (long)run.Count == length) ? row.Count : 1;

    // Without documents all rows have one pattern and are computed together; with documents, one row at a time.
    private IEnumerable<RowRange> Rows(Tensor query, IReadOnlyList<IReadOnlyList<int>>? segments) =>
        segments is null
            ? [new RowRange(0, (int)query.size(0), Pattern((int)query.size(2)))]
            : segments.Select((documents, row) => new RowRange(row, 1, Pattern(documents)));

    // The documents of a row one after the other: each has the pattern of its own length.
    private AttentionPattern Pattern(IReadOnlyList<int> documents)
    {
        List<Run> lower = [],
            upper = [];
        var start = 0;
        foreach (var length in documents.Where(d => d > 0))
        {
            var pattern = Pattern(length);
            lower.AddRange(pattern.Lower.Select(r => r with { Start = r.Start + start }));
            upper.AddRange(pattern.Upper.Select(r => r with { Start = r.Start + start }));
            start += length;
        }
        return new(lower, upper);
    }

    // Query heads with the key-value heads that they use, cut at H/2. The cut may fall between two query heads that share a key-value head;
    // this head is then given to both sides.
    private static IEnumerable<HeadPiece> HeadPieces(Tensor query, Tensor key, AttentionPattern pattern, HeadSlice? heads)
    {
        long count = query.size(1),
            group = count / key.size(1);
        var half = Math.Clamp((heads?.Total ?? count) / 2 - (heads?.First ?? 0), 0, count);
        if (pattern.Lower.SequenceEqual(pattern.Upper))
            half = 0;
        foreach (var (from, to, runs) in new[] { (0L, half, pattern.Lower), (half, count, pattern.Upper) })
        {
            for (var at = from; at < to; )
            {
                // Up to the end of a shared head that is begun, or all whole shared heads, or what is left of the last one.
                var end =
                    at % group != 0 ? Math.Min(to, (at / group + 1) * group)
                    : to - at >= group ? to - (to - at) % group
                    : to;
                yield return new(at, end - at, at / group, (end - at + group - 1) / group, runs);
                at = end;
            }
        }
    }

    // [B, H, L, K] with the strides of [B, L, H, K], as projections give and take it.
    private static Tensor TokenMajor(Tensor like) =>
        empty([like.size(0), like.size(2), like.size(1), like.size(3)], like.dtype, like.device).transpose(1, 2);

    private static Tensor Concatenate(long dimension, IEnumerable<Tensor> parts)
    {
        var list = parts.ToList();
        return list.Count == 1 ? list[0] : cat(list, dimension);
    }

    // [B n, H, G, K] -> [B, H, n G, K]
    private static Tensor Unstretch(Tensor output, long batch, Run run) =>
        run.Count == 1 ? output
        : run.Interleaved ? output.unflatten(0, [batch, run.Count]).permute(0, 2, 3, 1, 4).flatten(2, 3)
        : output.unflatten(0, [batch, run.Count]).transpose(1, 2).flatten(2, 3);

    // The window is in tokens of the text; of them an interleaved stretch has its share.
    private int Window(Run run) => AttentionPattern.WindowInside(run, _window);

    private static Tensor Causal(Tensor query, Tensor key, Tensor value, int window)
    {
        if (query.size(2) > window)
            return SlidingWindow.Attend(query, key, value, window);
        // CUDA's flash kernel takes shared heads, but not fp32; its kernel for fp32 may not take shared heads, and without either the
        // scores are a matrix [L, L].
        var times = query.size(1) / key.size(1);
        if (times > 1 && query.device_type != DeviceType.CPU && query.dtype == ScalarType.Float32)
            (key, value) = (key.repeat_interleave(times, 1), value.repeat_interleave(times, 1));
        return Dispatcher.ScaledDotProductAttention(query, key, value, null, query.size(2) > 1);
    }

    private static (Tensor Output, Tensor LogSumExp) ForwardKernel(Tensor query, Tensor key, Tensor value, int window) =>
        query.size(2) > window
            ? SlidingWindow.Forward(query, key, value, window)
            : Dispatcher.FlashAttentionCpu(query, key, value, causal: true);

    private static (Tensor, Tensor, Tensor) BackwardKernel(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        int window
    ) =>
        query.size(2) > window
            ? SlidingWindow.Backward(gradient, query, key, value, output, logSumExp, window)
            : Dispatcher.FlashAttentionCpuBackward(gradient, query, key, value, output, logSumExp, causal: true);

    // The forward pass once more, of one run alone.
    private static (Tensor, Tensor, Tensor) BackwardByAutograd(Tensor gradient, Tensor query, Tensor key, Tensor value, int window)
    {
        Tensor[] leaves = [.. new[] { query, key, value }.Select(t => t.detach().requires_grad_(true))];
        using (enable_grad())
            Causal(leaves[0], leaves[1], leaves[2], window).backward([gradient]);
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
                $"Attention needs query [B, H, L, K] and key and value [B, J, L, K] with J a divisor of H; seen "
                    + $"[{string.Join(", ", q)}], [{string.Join(", ", k)}], [{string.Join(", ", v)}]."
            );
    }

    private readonly record struct RowRange(int First, int Count, AttentionPattern Pattern);

    private readonly record struct HeadPiece(long First, long Count, long SharedFirst, long SharedCount, IReadOnlyList<Run> Runs)
    {
        internal Tensor Queries(Tensor heads, RowRange row, Run run) =>
            Stretches(heads.narrow(0, row.First, row.Count).narrow(1, First, Count), run);

        internal Tensor Shared(Tensor heads, RowRange row, Run run) =>
            Stretches(heads.narrow(0, row.First, row.Count).narrow(1, SharedFirst, SharedCount), run);

        // [B, H, L, K] -> [B n, H, G, K]; a view where B = 1 or the run covers the row, else a copy.
        private static Tensor Stretches(Tensor heads, Run run)
        {
            var tokens = heads.narrow(2, run.Start, run.Length * run.Count);
            return run.Count == 1 ? tokens
                : run.Interleaved ? tokens.unflatten(2, [run.Length, run.Count]).permute(0, 3, 1, 2, 4).flatten(0, 1)
                : tokens.unflatten(2, [run.Count, run.Length]).transpose(1, 2).flatten(0, 1);
        }
    }
}
