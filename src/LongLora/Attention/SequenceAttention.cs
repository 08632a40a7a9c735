using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// H query heads, J key-value heads (a divisor of H), L tokens of this rank, K head size

/// <summary>
/// Attention of one rank's part of a text. Most groups lie on one rank. A group that a border divides is computed by the two ranks beside
/// it, each for some of the heads, so that all ranks have as much to do: the other one sends the queries, keys and values of its tokens and
/// gets back their outputs, and in the backward pass gradients for gradients. So a head's group is computed whole, by the kernels and in
/// the order of a single rank, with the same bits; what is sent depends on the group size alone, not on the length of the text.
/// </summary>
/// <param name="whole">Attention of the whole text.</param>
/// <param name="part">This rank's part of it.</param>
/// <param name="neighbors">The ranks with the parts before and after it.</param>
internal sealed class SequenceAttention(PatternAttention whole, SequencePart part, SequenceNeighbors neighbors) : IAttention
{
    private readonly PatternAttention _local = whole.WithGroups(part.Groups);

    /// <inheritdoc/>
    public bool KeepsLogSumExp(Device device) => whole.KeepsLogSumExp(device);

    /// <inheritdoc/>
    public IAttention Within(int window) => Replace(whole.Within(window));

    /// <inheritdoc/>
    public IAttention WithScoreCap(double cap) => Replace(whole.WithScoreCap(cap));

    /// <inheritdoc/>
    public IAttention WithSinks(Weight sinks) => Replace(whole.WithSinks(sinks));

    private SequenceAttention Replace(IAttention changed) => new((PatternAttention)changed, part, neighbors);

    /// <inheritdoc/>
    public AttentionPattern MakePattern(int length) => whole.MakePattern(length);

    /// <summary>Not possible: what other ranks compute is in no graph.</summary>
    public Tensor Attend(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null
    ) => throw new NotSupportedException("Attention of a part of a text has no graph. Use Forward and Backward.");

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
        CheckPart(query, documentLengths);
        using var scope = NewDisposeScope();
        var (own, others) = Divide(query, key, heads);

        // On its way while this rank computes the groups that lie on it.
        var arriving = own.ConvertAll(g => new[] { g.MakeRoom(query), g.MakeRoomShared(key), g.MakeRoomShared(value) });
        var request = neighbors.Exchange(
            others.SelectMany(g => ToComputing(g, g.SelectSent(query), g.SelectSentShared(key), g.SelectSentShared(value))),
            own.Zip(arriving).SelectMany(pair => ToOther(pair.First, pair.Second))
        );
        var result = _local.Forward(query, key, value, null, heads, into);
        request.Wait();

        var answers = new List<(bool, Tensor)>();
        foreach (var (group, sent) in own.Zip(arriving))
        {
            var made = whole
                .WithGroups([group.Group.Pattern])
                .Forward(group.Join(sent[0], query), group.JoinShared(sent[1], key), group.JoinShared(sent[2], value), null, group.Slice);
            foreach (var (all, target) in Pair(made, result))
            {
                var computed = group.WithoutPadding(all);
                group.SelectOwn(target).copy_(group.TakeOwn(computed));
                answers.AddRange(ToOther(group, group.TakeSent(computed)));
            }
        }
        var returning = others.ConvertAll(g => Widen(result).Select(g.MakeRoom).ToArray());
        neighbors.Exchange(answers, others.Zip(returning).SelectMany(pair => ToComputing(pair.First, pair.Second))).Wait();
        foreach (var (group, answer) in others.Zip(returning))
        {
            foreach (var (target, computed) in Widen(result).Zip(answer))
                group.SelectSent(target).copy_(computed);
        }
        return into ?? new AttentionResult(result.Output.MoveToOuterDisposeScope(), result.LogSumExp?.MoveToOuterDisposeScope());
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
        CheckPart(query, documentLengths);
        using var scope = NewDisposeScope();
        var (own, others) = Divide(query, key, heads);
        Tensor[] ofQueries = [query, gradient, .. Widen(result)],
            ofKeys = [key, value];
        var arriving = own.ConvertAll(g =>
            (Queries: ofQueries.Select(g.MakeRoom).ToArray(), Keys: ofKeys.Select(g.MakeRoomShared).ToArray())
        );
        var request = neighbors.Exchange(
            others.SelectMany(g => ToComputing(g, [.. ofQueries.Select(g.SelectSent), .. ofKeys.Select(g.SelectSentShared)])),
            own.Zip(arriving).SelectMany(pair => ToOther(pair.First, [.. pair.Second.Queries, .. pair.Second.Keys]))
        );
        var gradients = _local.Backward(gradient, query, key, value, result, null, heads, into);
        request.Wait();

        var answers = new List<(bool, Tensor)>();
        foreach (var (group, sent) in own.Zip(arriving))
        {
            var q = sent.Queries.Zip(ofQueries, group.Join).ToArray();
            var k = sent.Keys.Zip(ofKeys, group.JoinShared).ToArray();
            var made = whole
                .WithGroups([group.Group.Pattern])
                .Backward(q[1], q[0], k[0], k[1], new(q[2], q.Length > 3 ? q[3].squeeze(3) : null), null, group.Slice);
            var ofGroup = (Query: group.WithoutPadding(made.Query), made.Key, made.Value);
            group.SelectOwn(gradients.Query).copy_(group.TakeOwn(ofGroup.Query));
            AddGradients(group.SelectOwnShared, gradients, (group.TakeOwn(ofGroup.Key), group.TakeOwn(ofGroup.Value)));
            answers.AddRange(ToOther(group, group.TakeSent(ofGroup.Query), group.TakeSent(ofGroup.Key), group.TakeSent(ofGroup.Value)));
        }
        var returning = others.ConvertAll(g => new[] { g.MakeRoom(query), g.MakeRoomShared(key), g.MakeRoomShared(value) });
        neighbors.Exchange(answers, others.Zip(returning).SelectMany(pair => ToComputing(pair.First, pair.Second))).Wait();
        foreach (var (group, answer) in others.Zip(returning))
        {
            group.SelectSent(gradients.Query).copy_(answer[0]);
            AddGradients(group.SelectSentShared, gradients, (answer[1], answer[2]));
        }
        return into
            ?? (
                gradients.Query.MoveToOuterDisposeScope(),
                gradients.Key.MoveToOuterDisposeScope(),
                gradients.Value.MoveToOuterDisposeScope()
            );
    }

    // What this rank computes of the divided groups, and what its neighbors do.
    private (List<DividedHeads> Own, List<DividedHeads> Others) Divide(Tensor query, Tensor key, HeadSlice? heads)
    {
        ILookup<bool, DividedHeads> Select(IReadOnlyList<DividedGroup> groups) =>
            DividedHeads.Select(groups, query, key, heads).ToLookup(g => g.IsOnLeft);
        var (first, last) = (Select(part.First), Select(part.Last));
        return ([.. first[false], .. last[true]], [.. last[false], .. first[true]]);
    }

    // Between the rank that has not computed a group and the one that has: the next one, if that is on the right.
    private static IEnumerable<(bool IsNext, Tensor Tensor)> ToComputing(DividedHeads group, params Tensor[] tensors) =>
        tensors.Select(t => (!group.IsOnLeft, t));

    // The other way.
    private static IEnumerable<(bool IsNext, Tensor Tensor)> ToOther(DividedHeads group, params Tensor[] tensors) =>
        tensors.Select(t => (group.IsOnLeft, t));

    // The halves share a key-value head if the cut at H/2 falls between its query heads; each token has one group in either half.
    private static void AddGradients(
        Func<Tensor, Tensor> select,
        (Tensor Query, Tensor Key, Tensor Value) all,
        (Tensor Key, Tensor Value) added
    )
    {
        select(all.Key).add_(added.Key, Scalars.One);
        select(all.Value).add_(added.Value, Scalars.One);
    }

    // Output [1, H, L, K] and, where the kernel gives them, log-sum-exps as [1, H, L, 1].
    private static IEnumerable<Tensor> Widen(AttentionResult result) =>
        result.LogSumExp is { } logSumExp ? [result.Output, logSumExp.unsqueeze(3)] : [result.Output];

    private static IEnumerable<(Tensor First, Tensor Second)> Pair(AttentionResult first, AttentionResult second) =>
        Widen(first).Zip(Widen(second));

    private void CheckPart(Tensor query, IReadOnlyList<IReadOnlyList<int>>? documentLengths)
    {
        if (documentLengths is not null || query.size(0) != 1 || query.size(2) != part.Length)
            throw new ShapeException(
                $"Attention of a part of a text needs queries [1, H, {part.Length}, K] and no lengths of documents, but the queries are "
                    + $"[{string.Join(", ", query.shape)}]."
            );
    }
}
