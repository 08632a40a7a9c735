using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// N groups, H query heads, J key-value heads (a divisor of H), S tokens of a group, K head size, W window

/// <summary>
/// Causal attention in which a token looks at itself and the W - 1 tokens before it. It is exact and uses only the causal kernel: no mask
/// of size [S, S], and no pair is computed that is not used.
/// </summary>
/// <remarks>
/// Queries are processed in blocks of W. Inside a block, attention is causal. Query a of a block also looks at keys c > a of the block
/// before it; if both are reversed, this is causal again. The results of the two calls are joined by their log-sum-exps. The backward
/// kernel gets the log-sum-exp of the whole, so its probabilities are those of the whole (as in ring attention, arXiv 2310.01889).
/// </remarks>
internal static class SlidingWindow
{
    /// <summary>Output [N, H, S, K] and log-sum-exp [N, H, S] in fp32; outside autograd, on the CPU.</summary>
    internal static (Tensor Output, Tensor LogSumExp) Forward(Tensor query, Tensor key, Tensor value, int window)
    {
        using var scope = NewDisposeScope();
        var output = empty_like(query);
        var logSumExp = empty([query.size(0), query.size(1), query.size(2)], ScalarType.Float32);
        foreach (var part in SplitIntoParts((int)query.size(2), window))
        {
            using var inner = NewDisposeScope();
            var (o, l) = FlashAttention.Forward(part.SelectQueries(query), part.SelectKeys(key), part.SelectKeys(value), part.IsCausal);
            (o, l) = (part.Reorder(o, 2), part.Reorder(l, 2));
            var (whole, wholeLog) = (output.narrow(2, part.Query, part.QueryCount), logSumExp.narrow(2, part.Query, part.QueryCount));
            if (part.IsFirst)
            {
                whole.copy_(o);
                wholeLog.copy_(l);
                continue;
            }
            AttentionJoin.Add(whole, wholeLog, o, l);
        }
        return (output.MoveToOuterDisposeScope(), logSumExp.MoveToOuterDisposeScope());
    }

    /// <summary>Gradients of <see cref="Forward"/>'s arguments.</summary>
    internal static (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        int window
    )
    {
        using var scope = NewDisposeScope();
        Tensor queryGradient = zeros_like(query),
            keyGradient = zeros_like(key),
            valueGradient = zeros_like(value);
        foreach (var part in SplitIntoParts((int)query.size(2), window))
        {
            using var inner = NewDisposeScope();
            var (q, k, v) = FlashAttention.Backward(
                part.SelectQueries(gradient),
                part.SelectQueries(query),
                part.SelectKeys(key),
                part.SelectKeys(value),
                part.SelectQueries(output),
                part.SelectQueries(logSumExp),
                part.IsCausal
            );
            queryGradient.narrow(2, part.Query, part.QueryCount).add_(part.Reorder(q, 2), Scalars.One);
            keyGradient.narrow(2, part.Key, part.KeyCount).add_(part.Reorder(k, 2), Scalars.One);
            valueGradient.narrow(2, part.Key, part.KeyCount).add_(part.Reorder(v, 2), Scalars.One);
        }
        return (queryGradient.MoveToOuterDisposeScope(), keyGradient.MoveToOuterDisposeScope(), valueGradient.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// The same under autograd and on any device, with a mask [W, 2 W - 1] for each block of W queries. If there are more keys than
    /// queries, the queries are the last tokens.
    /// </summary>
    /// <param name="query">[N, H, l, K].</param>
    /// <param name="key">[N, J, n, K].</param>
    /// <param name="value">[N, J, n, K].</param>
    /// <param name="window">W.</param>
    /// <param name="first">A key and a value [N, J, 1, K] that every query looks at besides; null for none.</param>
    internal static Tensor Attend(Tensor query, Tensor key, Tensor value, int window, (Tensor Key, Tensor Value)? first = null)
    {
        using var scope = NewDisposeScope();
        var (length, past, outputs) = (query.size(2), key.size(2) - query.size(2), new List<Tensor>());
        for (long start = 0; start < length; start += window)
        {
            var (count, firstQuery) = (Math.Min(window, length - start), past + start);
            var from = Math.Max(0, firstQuery - window + 1);
            var keys = firstQuery + count - from;
            var (q, k, v) = (query.narrow(2, start, count), key.narrow(2, from, keys), value.narrow(2, from, keys));
            if (first is { } seen)
                (k, v) = (cat([seen.Key, k], 2), cat([seen.Value, v], 2));
            outputs.Add(
                count == 1
                    ? Dispatcher.ScaledDotProductAttention(q, k, v, null, causal: false)
                    : MaskedAttention.Attend(q, k, v, MakeMask(firstQuery, count, from, keys, window, query.device, first is not null))
            );
        }
        return cat(outputs, 2).MoveToOuterDisposeScope();
    }

    private static Tensor MakeMask(long firstQuery, long queries, long firstKey, long keys, int window, Device device, bool hasFirst)
    {
        var distance = Scalars.Range(firstQuery, queries, device).unsqueeze(1) - Scalars.Range(firstKey, keys, device);
        var mask = distance.ge(Scalars.Zero).logical_and_(distance.lt(Scalars.Of(window)));
        return hasFirst ? cat([ones([queries, 1], ScalarType.Bool, device), mask], 1) : mask;
    }

    private static IEnumerable<Part> SplitIntoParts(int length, int window)
    {
        for (var start = 0; start < length; start += window)
        {
            var count = Math.Min(window, length - start);
            yield return new(start, count, start, count, IsCausal: true, IsFirst: true);
            if (start == 0)
                continue;
            // If the last block is short, each of its queries looks at the newest keys of the block before it.
            if (count < window)
                yield return new(start, count, start - window + count, window - count);
            if (count > 1)
                yield return new(start, count - 1, start - window + 1, count - 1, IsCausal: true, IsReversed: true);
        }
    }

    private readonly record struct Part(
        int Query,
        int QueryCount,
        int Key,
        int KeyCount,
        bool IsCausal = false,
        bool IsFirst = false,
        bool IsReversed = false
    )
    {
        internal Tensor SelectQueries(Tensor heads) => Reorder(heads.narrow(2, Query, QueryCount), 2);

        internal Tensor SelectKeys(Tensor heads) => Reorder(heads.narrow(2, Key, KeyCount), 2);

        internal Tensor Reorder(Tensor part, long dimension) => IsReversed ? part.flip(dimension) : part;
    }
}
