using static TorchSharp.torch;

namespace LongLora.Attention;

// H query heads, J key-value heads (a divisor of H), L tokens of this rank, l tokens left and r right of the border, K head size

/// <summary>
/// A divided group with the heads that it belongs to: what either rank selects from its tensors, and how the rank on the right joins the
/// parts. The parts are laid out token by token, as projections lay out heads.
/// </summary>
/// <param name="Group">The group.</param>
/// <param name="Heads">Query heads of its half, among those given.</param>
/// <param name="Shared">Key-value heads that they use.</param>
/// <param name="Padding">
/// Query heads before and after them that share a key-value head with them, as kernels count; they are not computed.
/// </param>
/// <param name="Slice">The heads with the padding, in the layer.</param>
internal sealed record DividedHeads(
    DividedGroup Group,
    (long First, long Count) Heads,
    (long First, long Count) Shared,
    (long Before, long After) Padding,
    HeadSlice Slice
)
{
    /// <summary>Finds the heads of each group, among some heads of a layer. Groups of which none is among them are left out.</summary>
    internal static List<DividedHeads> Select(IReadOnlyList<DividedGroup> groups, Tensor query, Tensor key, HeadSlice? heads)
    {
        long count = query.size(1),
            times = count / key.size(1),
            half = HeadSlice.CountLower(heads, count);
        var found = new List<DividedHeads>();
        foreach (var group in groups)
        {
            var (from, to) = group.IsUpper ? (half, count) : (0, half);
            if (from == to)
                continue;
            long first = from / times,
                end = (to + times - 1) / times;
            found.Add(
                new(
                    group,
                    (from, to - from),
                    (first, end - first),
                    (from - first * times, end * times - to),
                    new((int)((heads?.First ?? 0) + first * times), (int)((end - first) * times), heads?.Total ?? (int)count)
                )
            );
        }
        return found;
    }

    /// <summary>Of [1, H, L, K], the heads and the last l tokens.</summary>
    internal Tensor SelectLast(Tensor queries) => SelectLast(queries, Heads);

    /// <summary>Of [1, J, L, K], the heads and the last l tokens.</summary>
    internal Tensor SelectLastShared(Tensor keys) => SelectLast(keys, Shared);

    /// <summary>Of [1, H, L, K], the heads and the first r tokens.</summary>
    internal Tensor SelectFirst(Tensor queries) => SelectFirst(queries, Heads);

    /// <summary>Of [1, J, L, K], the heads and the first r tokens.</summary>
    internal Tensor SelectFirstShared(Tensor keys) => SelectFirst(keys, Shared);

    /// <summary>Room for what <see cref="SelectLast(Tensor)"/> gives on the other rank.</summary>
    internal Tensor MakeRoom(Tensor like) => MakeRoom(like, Heads.Count, Group.Left);

    /// <summary>Room for what <see cref="SelectLastShared"/> gives on the other rank.</summary>
    internal Tensor MakeRoomShared(Tensor like) => MakeRoom(like, Shared.Count, Group.Left);

    /// <summary>The other rank's tokens and the first r of [1, H, L, K], with padding that nobody reads.</summary>
    internal Tensor Join(Tensor left, Tensor queries)
    {
        var all = MakeRoom(left, Padding.Before + Heads.Count + Padding.After, Group.Left + Group.Right);
        Fill(WithoutPadding(all), left, SelectFirst(queries));
        return all;
    }

    /// <summary>The other rank's tokens and the first r of [1, J, L, K].</summary>
    internal Tensor JoinShared(Tensor left, Tensor keys)
    {
        var all = MakeRoom(left, Shared.Count, Group.Left + Group.Right);
        Fill(all, left, SelectFirstShared(keys));
        return all;
    }

    /// <summary>Drops the padding of a result.</summary>
    internal Tensor WithoutPadding(Tensor queries) => queries.narrow(1, Padding.Before, Heads.Count);

    /// <summary>The other rank's tokens in a result for the whole group.</summary>
    internal Tensor TakeLeft(Tensor whole) => whole.narrow(2, 0, Group.Left);

    /// <summary>This rank's tokens in a result for the whole group.</summary>
    internal Tensor TakeRight(Tensor whole) => whole.narrow(2, Group.Left, Group.Right);

    private Tensor SelectLast(Tensor heads, (long First, long Count) range) =>
        heads.narrow(1, range.First, range.Count).narrow(2, heads.size(2) - Group.Left, Group.Left);

    private Tensor SelectFirst(Tensor heads, (long First, long Count) range) =>
        heads.narrow(1, range.First, range.Count).narrow(2, 0, Group.Right);

    private void Fill(Tensor all, Tensor left, Tensor right)
    {
        TakeLeft(all).copy_(left);
        TakeRight(all).copy_(right);
    }

    // [1, h, t, K] with the strides of [1, t, h, K]
    private static Tensor MakeRoom(Tensor like, long heads, long tokens) =>
        empty([1, tokens, heads, like.size(3)], like.dtype, like.device).transpose(1, 2);
}
