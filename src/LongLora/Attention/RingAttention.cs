using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// H query heads, J key-value heads (a divisor of H), L tokens of the text, l of this rank, K head size, W window

/// <summary>
/// Full attention of one rank's tokens, of a text that no rank has whole (ring attention, arXiv 2310.01889). The keys and values of the
/// ranks go round; each rank looks at them while the next ones arrive, and joins what it finds by the log-sum-exps. Each has its queries,
/// and at most the keys and values of two ranks, for the heads that are computed at a time. Forward only.
/// </summary>
/// <param name="plan">Which tokens each rank has.</param>
/// <param name="ranks">The ranks of the text.</param>
internal sealed class RingAttention(RingPlan plan, ICommunicator ranks) : IAttention
{
    private int _window = int.MaxValue;
    private double? _cap;
    private Weight? _sinks;

    /// <summary>Whether the CPU also computes as devices whose kernels give no log-sum-exps. Tests use this.</summary>
    internal bool IsByTiles { get; init; }

    /// <summary>Not kept: there is no backward pass.</summary>
    public bool KeepsLogSumExp(Device device) => false;

    /// <inheritdoc/>
    public IAttention Within(int window) => Change(changed => changed._window = Math.Min(_window, window));

    /// <inheritdoc/>
    public IAttention WithScoreCap(double cap) => Change(changed => changed._cap = cap);

    /// <inheritdoc/>
    public IAttention WithSinks(Weight sinks) => Change(changed => changed._sinks = sinks);

    /// <inheritdoc/>
    public AttentionPattern MakePattern(int length) => new FullAttention().Within(_window).MakePattern(length);

    private RingAttention Change(Action<RingAttention> set)
    {
        var changed = (RingAttention)MemberwiseClone();
        set(changed);
        return changed;
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
        CheckPart(query, key, value, documentLengths);
        using var scope = NewDisposeScope();
        var output = HostMemory.AllocateApart(() => empty(query.shape, ScalarType.Float32, query.device));
        var logSumExp = empty([1, query.size(1), query.size(2)], ScalarType.Float32, query.device);
        var (current, next) = (MakeRoom(key), MakeRoom(key));
        var (ownKey, ownValue) = Open(current, key, ranks.Rank);
        ownKey.copy_(key);
        ownValue.copy_(value);
        for (var step = 0; step < ranks.Size; step++)
        {
            var owner = (ranks.Rank - step + ranks.Size) % ranks.Size;
            var arriving = step == ranks.Size - 1 ? Pending.Done : Pass(current, owner, next, key);
            var (seenKey, seenValue) = Open(current, key, owner);
            Look(query, seenKey, seenValue, owner, output, logSumExp);
            arriving.Wait();
            (current, next) = (next, current);
        }
        if (_sinks is not null)
            logSumExp = AttentionSinks.Join(output, logSumExp, _sinks.Value.narrow(0, heads?.First ?? 0, query.size(1)));
        if (into is not { } given)
            return new(output.In(query.dtype).MoveToOuterDisposeScope(), logSumExp.MoveToOuterDisposeScope());
        given.Output.copy_(output);
        given.LogSumExp?.copy_(logSumExp);
        return given;
    }

    // Keys and values of the rank that has most tokens, one after the other, as they are sent: token by token.
    private Tensor MakeRoom(Tensor like) =>
        HostMemory.AllocateApart(() => empty([2L * plan.Longest * like.size(1) * like.size(3)], like.dtype, like.device));

    // [1, J, l, K] of a rank
    private (Tensor Key, Tensor Value) Open(Tensor room, Tensor like, int owner)
    {
        long count = plan.Count(owner),
            size = count * like.size(1) * like.size(3);
        Tensor View(long start) => room.narrow(0, start, size).view(1, count, like.size(1), like.size(3)).transpose(1, 2);
        return (View(0), View(size));
    }

    // To the next rank, while those of the rank before come.
    private Pending Pass(Tensor current, int owner, Tensor next, Tensor like)
    {
        Tensor Filled(Tensor room, int of) => room.narrow(0, 0, 2L * plan.Count(of) * like.size(1) * like.size(3));
        var size = ranks.Size;
        return ranks.Exchange(
            [((ranks.Rank + 1) % size, Filled(current, owner))],
            [((ranks.Rank - 1 + size) % size, Filled(next, (owner - 1 + size) % size))]
        );
    }

    // Adds what the queries of this rank find among the keys of one rank. Its own come first, and of these each chunk's own, where every
    // query finds something.
    private void Look(Tensor query, Tensor key, Tensor value, int owner, Tensor output, Tensor logSumExp)
    {
        foreach (var queries in plan.GetChunks(ranks.Rank))
        {
            Tensor OfQueries(Tensor all) => all.narrow(2, queries.At, queries.Count);
            foreach (var keys in plan.GetChunks(owner).Reverse().Where(keys => keys.Start <= queries.Start))
            {
                using var scope = NewDisposeScope();
                Tensor OfKeys(Tensor all) => all.narrow(2, keys.At, keys.Count);
                var (q, k, v) = (OfQueries(query), OfKeys(key), OfKeys(value));
                if (keys == queries)
                    LookAtSelf(q, k, v, OfQueries(output), OfQueries(logSumExp));
                else
                    LookBack(q, k, v, OfQueries(output), OfQueries(logSumExp), queries, keys);
                Liveness.Tick();
            }
        }
    }

    private void LookAtSelf(Tensor query, Tensor key, Tensor value, Tensor output, Tensor logSumExp)
    {
        var (o, l) =
            UsesTiles(query) ? CappedAttention.Forward(query, key, value, _window, _cap)
            : query.size(2) > _window ? SlidingWindow.Forward(query, key, value, _window)
            : FlashAttention.Forward(query, key, value, causal: true);
        output.copy_(o);
        logSumExp.copy_(l);
    }

    // Keys of earlier tokens. Queries that are W or more tokens behind the last of them see none.
    private void LookBack(Tensor query, Tensor key, Tensor value, Tensor output, Tensor logSumExp, RingChunk queries, RingChunk keys)
    {
        var end = Math.Min(queries.End, keys.End - 1L + _window);
        if (end <= queries.Start)
            return;
        void Add(long start, long until, Func<Tensor, (Tensor Output, Tensor LogSumExp)> look)
        {
            if (until <= start)
                return;
            Tensor Part(Tensor all) => all.narrow(2, start - queries.Start, until - start);
            var (o, l) = look(Part(query));
            AttentionJoin.Add(Part(output), Part(logSumExp), o, l);
        }
        if (UsesTiles(query))
        {
            Add(queries.Start, end, q => CappedAttention.Forward(q, key, value, _window, _cap, queries.Start - keys.Start));
            return;
        }
        // These see all keys; the others fewer and fewer.
        var whole = Math.Clamp(keys.Start + (long)_window, queries.Start, end);
        Add(queries.Start, whole, q => FlashAttention.Forward(q, key, value, causal: false));
        var first = whole - _window + 1 - keys.Start; // the first key that the first of them sees
        var common = first + (end - whole); // from here on all of them see all
        Tensor From(Tensor all) => all.narrow(2, common, keys.Count - common);
        if (common < keys.Count)
            Add(whole, end, q => FlashAttention.Forward(q, From(key), From(value), causal: false));
        Add(whole, end, q => LookAtStairs(q, key.narrow(2, first, end - whole), value.narrow(2, first, end - whole)));
    }

    // Query a sees keys c >= a of as many: if both are reversed, this is causal.
    private static (Tensor Output, Tensor LogSumExp) LookAtStairs(Tensor query, Tensor key, Tensor value)
    {
        var (o, l) = FlashAttention.Forward(query.flip(2), key.flip(2), value.flip(2), causal: true);
        return (o.flip(2), l.flip(2));
    }

    private bool UsesTiles(Tensor query) => _cap is not null || IsByTiles || query.device_type != DeviceType.CPU;

    private void CheckPart(Tensor query, Tensor key, Tensor value, IReadOnlyList<IReadOnlyList<int>>? documentLengths)
    {
        var count = plan.Count(ranks.Rank);
        if (documentLengths is not null || query.size(0) != 1 || new[] { query, key, value }.Any(heads => heads.size(2) != count))
            throw new ShapeException(
                $"Attention of rank {ranks.Rank}'s part of a text needs queries, keys and values of {count} tokens in a row and no lengths "
                    + $"of documents, but the queries are [{string.Join(", ", query.shape)}] and the keys [{string.Join(", ", key.shape)}]."
            );
    }

    /// <summary>Not possible: what other ranks have is in no graph.</summary>
    public Tensor Attend(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null
    ) => throw new NotSupportedException("Attention of a part of a text has no graph. Use Forward.");

    /// <summary>Not possible: ring attention is for evaluation.</summary>
    public (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        AttentionResult result,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null,
        (Tensor Query, Tensor Key, Tensor Value)? into = null
    ) => throw new NotSupportedException("Ring attention has no backward pass. Train with shifted sparse attention.");
}
