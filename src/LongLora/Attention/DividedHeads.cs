using static TorchSharp.torch;

namespace LongLora.Attention;

// H query heads, J key-value heads (a divisor of H), L tokens of this rank, t tokens of a group on one side of the border, K head size

/// <summary>
/// A divided group with those of its heads that one of the two ranks computes: what either rank selects from its tensors, and how the one
/// that computes joins the parts. The parts are laid out token by token, as projections lay out heads.
/// </summary>
/// <param name="Group">The group.</param>
/// <param name="IsOnLeft">Whether the rank with the earlier tokens computes them.</param>
/// <param name="Heads">Query heads, among those given.</param>
/// <param name="Shared">Key-value heads that they use.</param>
/// <param name="Padding">
/// Query heads before and after them that share a key-value head with them, as kernels count; they are not computed.
/// </param>
/// <param name="Slice">The heads with the padding, in the layer.</param>
internal sealed record DividedHeads(
    DividedGroup Group,
    bool IsOnLeft,
    (long First, long Count) Heads,
    (long First, long Count) Shared,
    (long Before, long After) Padding,
    HeadSlice Slice
)
{
    /// <summary>Finds the heads of each group, among some heads of a layer. Groups of which none is among them are left out.</summary>
    internal static IEnumerable<DividedHeads> Select(IReadOnlyList<DividedGroup> groups, Tensor query, Tensor key, HeadSlice? heads)
    {
        long count = query.size(1),
            times = count / key.size(1),
            total = heads?.Total ?? count,
            given = heads?.First ?? 0;
        foreach (var group in groups)
        {
            foreach (var part in group.DivideHeads(total, times))
            {
                long first = Math.Max(part.First, given) - given,
                    end = Math.Min(part.End, given + count) - given,
                    shared = first / times,
                    sharedEnd = (end + times - 1) / times;
                if (first < end)
                    yield return new(
                        group,
                        part.IsOnLeft,
                        (first, end - first),
                        (shared, sharedEnd - shared),
                        (first - shared * times, sharedEnd * times - end),
                        new((int)(given + shared * times), (int)((sharedEnd - shared) * times), (int)total)
                    );
            }
        }
    }

    /// <summary>Of [1, H, L, K] on the rank that computes, the heads and its tokens of the group.</summary>
    internal Tensor SelectOwn(Tensor queries) => Select(queries, Heads, IsOnLeft);

    /// <summary>Of [1, J, L, K] on the rank that computes, the heads and its tokens of the group.</summary>
    internal Tensor SelectOwnShared(Tensor keys) => Select(keys, Shared, IsOnLeft);

    /// <summary>Of [1, H, L, K] on the other rank, the heads and its tokens of the group.</summary>
    internal Tensor SelectSent(Tensor queries) => Select(queries, Heads, !IsOnLeft);

    /// <summary>Of [1, J, L, K] on the other rank, the heads and its tokens of the group.</summary>
    internal Tensor SelectSentShared(Tensor keys) => Select(keys, Shared, !IsOnLeft);

    /// <summary>Room for what <see cref="SelectSent"/> gives on the other rank.</summary>
    internal Tensor MakeRoom(Tensor like) => MakeRoom(like, Heads.Count, CountTokens(!IsOnLeft));

    /// <summary>Room for what <see cref="SelectSentShared"/> gives on the other rank.</summary>
    internal Tensor MakeRoomShared(Tensor like) => MakeRoom(like, Shared.Count, CountTokens(!IsOnLeft));

    /// <summary>The whole group, of the other rank's tokens and those of [1, H, L, K], with padding that nobody reads.</summary>
    internal Tensor Join(Tensor sent, Tensor queries)
    {
        var all = MakeRoom(sent, Padding.Before + Heads.Count + Padding.After, Group.Left + Group.Right);
        Fill(WithoutPadding(all), sent, SelectOwn(queries));
        return all;
    }

    /// <summary>The whole group, of the other rank's tokens and those of [1, J, L, K].</summary>
    internal Tensor JoinShared(Tensor sent, Tensor keys)
    {
        var all = MakeRoom(sent, Shared.Count, Group.Left + Group.Right);
        Fill(all, sent, SelectOwnShared(keys));
        return all;
    }

    /// <summary>Drops the padding of a result.</summary>
    internal Tensor WithoutPadding(Tensor queries) => queries.narrow(1, Padding.Before, Heads.Count);

    /// <summary>The tokens of the rank that computes, in a result for the whole group.</summary>
    internal Tensor TakeOwn(Tensor whole) => Take(whole, IsOnLeft);

    /// <summary>The other rank's tokens in a result for the whole group.</summary>
    internal Tensor TakeSent(Tensor whole) => Take(whole, !IsOnLeft);

    private long CountTokens(bool left) => left ? Group.Left : Group.Right;

    private Tensor Take(Tensor whole, bool left) => whole.narrow(2, left ? 0 : Group.Left, CountTokens(left));

    // The rank on the left has the group's tokens at its end, the other one at its start.
    private Tensor Select(Tensor heads, (long First, long Count) range, bool left) =>
        heads.narrow(1, range.First, range.Count).narrow(2, left ? heads.size(2) - Group.Left : 0, CountTokens(left));

    private void Fill(Tensor all, Tensor sent, Tensor own)
    {
        TakeSent(all).copy_(sent);
        TakeOwn(all).copy_(own);
    }

    // [1, h, t, K] with the strides of [1, t, h, K]
    private static Tensor MakeRoom(Tensor like, long heads, long tokens) =>
        empty([1, tokens, heads, like.size(3)], like.dtype, like.device).transpose(1, 2);
}
