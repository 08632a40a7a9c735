using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, L tokens, H query heads, J key-value heads (a divisor of H), K head size, G group, n groups

/// <summary>
/// Attention inside stretches of tokens, computed on views: each run of equal stretches is one call of the fused causal kernel with the
/// stretches as its batch. No mask, no roll, no copy of keys and values; the patterns differ in nothing but their runs.
/// </summary>
public abstract class SegmentedAttention : IAttention
{
    /// <inheritdoc/>
    public abstract AttentionPattern Pattern(int length);

    /// <inheritdoc/>
    public Tensor Attend(Tensor query, Tensor key, Tensor value, IReadOnlyList<IReadOnlyList<int>>? segments = null)
    {
        CheckShapes(query, key, value);
        using var scope = NewDisposeScope();
        if (segments is null)
            return AttendRow(query, key, value, Pattern((int)query.size(2))).MoveToOuterDisposeScope();

        // Rows hold different documents: one row at a time.
        var rows = new Tensor[query.size(0)];
        for (var row = 0; row < rows.Length; row++)
            rows[row] = AttendRow(query.narrow(0, row, 1), key.narrow(0, row, 1), value.narrow(0, row, 1), Pattern(segments[row]));
        return (rows.Length == 1 ? rows[0] : cat(rows, 0)).MoveToOuterDisposeScope();
    }

    // The documents of a row one after the other: each has the pattern of its own length.
    private AttentionPattern Pattern(IReadOnlyList<int> documents)
    {
        List<Run> lower = [], upper = [];
        var start = 0;
        foreach (var length in documents)
        {
            if (length == 0)
                continue;
            var pattern = Pattern(length);
            lower.AddRange(pattern.Lower.Select(r => r with { Start = r.Start + start }));
            upper.AddRange(pattern.Upper.Select(r => r with { Start = r.Start + start }));
            start += length;
        }
        return new(lower, upper);
    }

    private static Tensor AttendRow(Tensor query, Tensor key, Tensor value, AttentionPattern pattern)
    {
        long heads = query.size(1), half = heads / 2;
        if (half == 0 || pattern.Lower.SequenceEqual(pattern.Upper))
            return AttendHeads(query, key, value, pattern.Upper);

        var parts = new List<Tensor>();
        foreach (var (first, count, shared, sharedCount) in HeadPieces(heads, key.size(1), half))
        {
            parts.Add(AttendHeads(query.narrow(1, first, count), key.narrow(1, shared, sharedCount), value.narrow(1, shared, sharedCount),
                first < half ? pattern.Lower : pattern.Upper));
        }
        return cat(parts, 1); // [B, H/2, L, K] x 2 -> [B, H, L, K]
    }

    // Query heads [first, first + count) with the key-value heads that they use, cut at H/2. The cut may fall between two query heads that
    // share a key-value head; this head is then given to both sides.
    private static IEnumerable<(long First, long Count, long Shared, long SharedCount)> HeadPieces(long heads, long shared, long half)
    {
        var group = heads / shared;
        foreach (var (from, to) in new[] { (0L, half), (half, heads) })
        {
            var at = from;
            if (at % group != 0)
            {
                var end = Math.Min(to, (at / group + 1) * group);
                yield return (at, end - at, at / group, 1);
                at = end;
            }
            var whole = (to - at) / group;
            if (whole > 0)
            {
                yield return (at, whole * group, at / group, whole);
                at += whole * group;
            }
            if (at < to)
                yield return (at, to - at, at / group, 1);
        }
    }

    private static Tensor AttendHeads(Tensor query, Tensor key, Tensor value, IReadOnlyList<Run> runs)
    {
        var parts = new List<Tensor>(runs.Count);
        foreach (var run in runs)
        {
            var output = Causal(Stretches(query, run), Stretches(key, run), Stretches(value, run));
            parts.Add(Unstretch(output, query.size(0), run));
        }
        return parts.Count == 1 ? parts[0] : cat(parts, 2);
    }

    // [B, H, L, K] -> [B n, H, G, K]; a view where B = 1 or the run covers the row, else a copy.
    private static Tensor Stretches(Tensor heads, Run run)
    {
        var rows = heads.narrow(2, run.Start, run.Length * run.Count);
        if (run.Count == 1)
            return rows;
        return rows.unflatten(2, [run.Count, run.Length]) // -> [B, H, n, G, K]
            .transpose(1, 2).flatten(0, 1); // -> [B n, H, G, K]
    }

    // [B n, H, G, K] -> [B, H, n G, K]
    private static Tensor Unstretch(Tensor output, long batch, Run run) => run.Count == 1
        ? output
        : output.unflatten(0, [batch, run.Count]).transpose(1, 2).flatten(2, 3);

    private static Tensor Causal(Tensor query, Tensor key, Tensor value) => query.size(1) == key.size(1)
        ? nn.functional.scaled_dot_product_attention(query, key, value, null, 0, query.size(2) > 1)
        : Dispatcher.ScaledDotProductAttention(query, key, value, null, query.size(2) > 1);

    private static void CheckShapes(Tensor query, Tensor key, Tensor value)
    {
        long[] q = query.shape, k = key.shape, v = value.shape;
        if (q.Length != 4 || k.Length != 4 || !k.SequenceEqual(v) || k[1] == 0 || q[1] % k[1] != 0 || q[0] != k[0] || q[2] != k[2] || q[3] != k[3])
            throw new ShapeException($"Attention needs query [B, H, L, K] and key and value [B, J, L, K] with J a divisor of H; seen "
                + $"[{string.Join(", ", q)}], [{string.Join(", ", k)}], [{string.Join(", ", v)}].");
    }
}

/// <summary>Every earlier token: attention at inference, and the comparison in training.</summary>
public sealed class FullAttention : SegmentedAttention
{
    /// <inheritdoc/>
    public override AttentionPattern Pattern(int length)
    {
        Run[] all = [new(0, length, 1)];
        return new(all, all);
    }
}

/// <summary>
/// S²-Attn (LongLoRA, section 3.2): heads [0, H/2) in groups [kG, (k+1)G), heads [H/2, H) in groups cut half a group later: [0, G/2),
/// [G/2, 3G/2), ... Nothing wraps around: the published roll lets the first half group see the end of the text.
/// </summary>
/// <param name="groupSize">G, at least 2 and even; a text not longer than it gets full attention.</param>
public sealed class ShiftedSparseAttention(int groupSize) : SegmentedAttention
{
    private readonly int _group = CheckedGroup(groupSize);

    /// <inheritdoc/>
    public override AttentionPattern Pattern(int length)
    {
        Run[] lower = [.. Run.Cover(0, length, _group)];
        if (length <= _group)
            return new(lower, lower);
        var shift = _group / 2;
        return new(lower, [new(0, shift, 1), .. Run.Cover(shift, length, _group)]);
    }

    internal static int CheckedGroup(int size) => size >= 2 && size % 2 == 0 ? size
        : throw new ConfigurationException($"The attention group has {size} tokens; it must be even and at least 2.");
}

/// <summary>Groups without the shift: no information passes from one group to the next. The paper's ablation, not for use.</summary>
/// <param name="groupSize">G, at least 2 and even.</param>
public sealed class GroupedAttention(int groupSize) : SegmentedAttention
{
    private readonly int _group = ShiftedSparseAttention.CheckedGroup(groupSize);

    /// <inheritdoc/>
    public override AttentionPattern Pattern(int length)
    {
        Run[] groups = [.. Run.Cover(0, length, _group)];
        return new(groups, groups);
    }
}
