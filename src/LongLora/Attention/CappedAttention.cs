using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// N groups, H query heads, J key-value heads (a divisor of H), R = H / J, l queries, n keys, m of them, r queries of a tile, K head size

/// <summary>
/// Causal attention with scores s as c tanh(s / c), which no fused kernel supports, or plain ones where no kernel of a device gives
/// log-sum-exps. It processes some queries at a time against the keys that they see, so no matrix [l, n] exists, forward or backward.
/// </summary>
internal static class CappedAttention
{
    // Elements of one matrix of scores: 16 MiB in fp32 on the CPU.
    private static long TileElements(bool onGpu) => onGpu ? 64 << 20 : 4 << 20;

    /// <summary>
    /// Output [N, H, l, K] and log-sum-exp [N, H, l] in fp32, outside autograd.
    /// </summary>
    /// <param name="query">[N, H, l, K].</param>
    /// <param name="key">[N, J, n, K].</param>
    /// <param name="value">[N, J, n, K].</param>
    /// <param name="window">How many tokens a token looks at, itself included.</param>
    /// <param name="cap">c; null for plain scores.</param>
    /// <param name="past">
    /// How many tokens the first query is behind the first key; each sees a key. Null if the queries are the last tokens of the keys.
    /// </param>
    internal static (Tensor Output, Tensor LogSumExp) Forward(
        Tensor query,
        Tensor key,
        Tensor value,
        int window,
        double? cap,
        long? past = null
    )
    {
        using var scope = NewDisposeScope();
        var output = empty(query.shape, query.dtype, query.device);
        var logSumExp = empty([query.size(0), query.size(1), query.size(2)], ScalarType.Float32, query.device);
        foreach (var tile in Split(query, key, window, past ?? key.size(2) - query.size(2)))
        {
            using var inner = NewDisposeScope();
            var scores = Cap(tile, query, key, cap).Capped;
            var sum = scores.logsumexp(-1, keepdim: true); // -> [N, J, R, r, 1]
            var weights = scores.sub_(sum).exp_().In(value.dtype);
            tile.OfQueries(output).copy_(Tile.Flatten(weights).matmul(tile.OfKeys(value)).view(tile.GetShape(query.size(3))).flatten(1, 2));
            tile.OfQueries(logSumExp.unsqueeze(3)).copy_(sum.flatten(1, 2));
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
        int window,
        double cap
    )
    {
        using var scope = NewDisposeScope();
        Tensor queryGradient = empty(query.shape, query.dtype, query.device),
            keyGradient = zeros(key.shape, key.dtype, key.device),
            valueGradient = zeros(value.shape, value.dtype, value.device);
        var scale = Scalars.Of(1 / Math.Sqrt(query.size(3)));
        foreach (var tile in Split(query, key, window, key.size(2) - query.size(2)))
        {
            using var inner = NewDisposeScope();
            var (scores, tangents) = Cap(tile, query, key, cap);
            Tensor Grouped(Tensor heads) => tile.OfQueries(heads).unflatten(1, [key.size(1), -1]); // -> [N, J, R, r, ..]
            var weights = scores.sub_(Grouped(logSumExp.unsqueeze(3))).exp_();
            var outputGradient = Grouped(gradient);
            var rowGradient = outputGradient.flatten(2, 3); // -> [N, J, R r, K]
            var dot = outputGradient.mul(Grouped(output)).sum(-1, keepdim: true, type: ScalarType.Float32);
            tile.OfKeys(valueGradient).add_(Tile.Flatten(weights.In(value.dtype)).transpose(2, 3).matmul(rowGradient), Scalars.One);
            // p (g vᵀ - g o), times 1 - tanh², times the scale
            var slope = rowGradient.matmul(tile.OfKeys(value).transpose(2, 3)).view(weights.shape).to(ScalarType.Float32);
            slope = slope.sub_(dot).mul_(weights).mul_(tangents.mul_(tangents).neg_().add_(Scalars.One, Scalars.One)).mul_(scale);
            var flat = Tile.Flatten(slope.In(query.dtype));
            tile.OfQueries(queryGradient).copy_(flat.matmul(tile.OfKeys(key)).view(tile.GetShape(query.size(3))).flatten(1, 2));
            tile.OfKeys(keyGradient).add_(flat.transpose(2, 3).matmul(Grouped(query).flatten(2, 3)), Scalars.One);
        }
        return (queryGradient.MoveToOuterDisposeScope(), keyGradient.MoveToOuterDisposeScope(), valueGradient.MoveToOuterDisposeScope());
    }

    /// <summary>The same under autograd, with the graph of all scores: for comparison.</summary>
    internal static Tensor Attend(Tensor query, Tensor key, Tensor value, int window, double cap, Tensor? sinks)
    {
        using var scope = NewDisposeScope();
        var outputs = new SortedDictionary<long, List<Tensor>>();
        foreach (var tile in Split(query, key, window, key.size(2) - query.size(2)))
        {
            var scores = Cap(tile, query, key, cap).Capped;
            var weights = sinks is null
                ? scores.softmax(-1)
                : cat([scores, sinks.to(ScalarType.Float32).view(1, key.size(1), -1, 1, 1).expand([.. scores.shape[..^1], 1])], -1)
                    .softmax(-1)
                    .narrow(-1, 0, scores.size(-1));
            if (!outputs.TryGetValue(tile.Group, out var ofGroups))
                outputs[tile.Group] = ofGroups = [];
            ofGroups.Add(Tile.Flatten(weights.In(value.dtype)).matmul(tile.OfKeys(value)).view(tile.GetShape(query.size(3))).flatten(1, 2));
        }
        return cat([.. outputs.Values.Select(ofGroups => cat(ofGroups, 2))], 0).MoveToOuterDisposeScope();
    }

    // c tanh(q kᵀ / (sqrt(K) c)), minus infinity where a query may not look, and the tanh; [N, J, R, r, m] fp32. Without a cap both are the
    // scores.
    private static (Tensor Capped, Tensor Tangent) Cap(Tile tile, Tensor query, Tensor key, double? cap)
    {
        var queries = tile.OfQueries(query).unflatten(1, [key.size(1), -1]); // -> [N, J, R, r, K]
        var scores = queries.flatten(2, 3).matmul(tile.OfKeys(key).transpose(2, 3)).view(tile.GetShape(tile.KeyCount));
        scores = scores.to(ScalarType.Float32).mul(Scalars.Of(1 / (Math.Sqrt(query.size(3)) * (cap ?? 1))));
        var (mask, never) = (tile.MakeMask(query.device), Scalars.Of(double.NegativeInfinity));
        if (cap is not { } limit)
            return (scores.masked_fill_(mask, never), scores);
        var tangent = scores.tanh();
        return (tangent.mul(Scalars.Of(limit)).masked_fill(mask, never), tangent);
    }

    // The tiles of a group do not depend on how many groups there are, so neither do the bits of its results.
    private static IEnumerable<Tile> Split(Tensor query, Tensor key, int window, long past)
    {
        var length = query.size(2);
        var rows = TileElements(query.device_type != TorchSharp.DeviceType.CPU) / (query.size(1) * Math.Min(key.size(2), window + 512L));
        var (atOnce, step) = (Math.Max(1, rows / length), Math.Max(16, rows));
        for (long first = 0; first < query.size(0); first += atOnce)
        {
            var groups = Math.Min(atOnce, query.size(0) - first);
            for (long start = 0; start < length; start += step)
            {
                var count = Math.Min(step, length - start);
                var from = Math.Max(0, past + start - window + 1);
                var keys = Math.Min(key.size(2), past + start + count) - from;
                yield return new(first, groups, start, count, from, keys, past, window, key.size(1));
            }
        }
    }

    // Queries [Query, Query + QueryCount) against keys [Key, Key + KeyCount), in some of the groups.
    private readonly record struct Tile(
        long Group,
        long Groups,
        long Query,
        long QueryCount,
        long Key,
        long KeyCount,
        long Past,
        int Window,
        long Shared
    )
    {
        internal Tensor OfQueries(Tensor heads) => heads.narrow(0, Group, Groups).narrow(2, Query, QueryCount);

        internal Tensor OfKeys(Tensor heads) => heads.narrow(0, Group, Groups).narrow(2, Key, KeyCount);

        // [N, J, R, r, m] -> [N, J, R r, m]
        internal static Tensor Flatten(Tensor weights) => weights.flatten(2, 3);

        internal long[] GetShape(long last) => [Groups, Shared, -1, QueryCount, last];

        // True where a query may not look.
        internal Tensor MakeMask(Device device)
        {
            var distance = Scalars.Range(Past + Query, QueryCount, device).unsqueeze(1) - Scalars.Range(Key, KeyCount, device);
            return distance.lt(Scalars.Zero).logical_or_(distance.ge(Scalars.Of((long)Window)));
        }
    }
}
