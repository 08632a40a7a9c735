using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// N groups, H query heads, J key-value heads (a divisor of H), S tokens of a group, l queries, n keys, K head size

/// <summary>
/// One more logit in each softmax, whose share is dropped: for a log-sum-exp L, o becomes o exp(L) / (exp(L) + exp(s)), exactly. With the
/// new output and the new log-sum-exp, the kernel's own backward pass gives the gradients of queries, keys and values.
/// </summary>
internal static class AttentionSinks
{
    /// <summary>Takes the share of the logits from the result of a kernel, outside autograd.</summary>
    /// <param name="output">[N, H, S, K]; changed.</param>
    /// <param name="logSumExp">[N, H, S] fp32.</param>
    /// <param name="sinks">[H].</param>
    /// <returns>The new log-sum-exp.</returns>
    internal static Tensor Join(Tensor output, Tensor logSumExp, Tensor sinks)
    {
        using var scope = NewDisposeScope();
        // In fp64 for the reason that AttentionJoin gives.
        var wide = logSumExp.to(ScalarType.Float64);
        var joined = wide.logaddexp(sinks.to(ScalarType.Float64).view(1, -1, 1));
        output.mul_(wide.sub(joined).exp_().unsqueeze(3).to(output.dtype));
        return joined.to(logSumExp.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>Adds the gradient of the logits: each is minus its share times the sum of gradient times output.</summary>
    /// <param name="target">[H] fp32; changed.</param>
    /// <param name="sinks">[H].</param>
    /// <param name="gradient">[N, H, S, K], of the output.</param>
    /// <param name="output">[N, H, S, K], without the share of the logits.</param>
    /// <param name="logSumExp">[N, H, S], as <see cref="Join"/> returned it.</param>
    internal static void AddGradient(Tensor target, Tensor sinks, Tensor gradient, Tensor output, Tensor logSumExp)
    {
        using var scope = NewDisposeScope();
        var share = sinks.to(ScalarType.Float32).view(1, -1, 1).sub(logSumExp).exp_();
        var sum = gradient.mul(output).sum(-1, type: ScalarType.Float32); // -> [N, H, S]
        target.sub_(share.mul_(sum).sum([0, 2]));
    }

    /// <summary>
    /// The same under autograd and on any device: the logit is the product of a query with one more key, in a dimension that the other keys
    /// do not use, and its value is zero.
    /// </summary>
    /// <param name="query">[N, H, l, K].</param>
    /// <param name="key">[N, J, n, K]; the queries are the last tokens.</param>
    /// <param name="value">[N, J, n, K].</param>
    /// <param name="sinks">[H].</param>
    /// <param name="window">How many tokens a token looks at, itself included.</param>
    internal static Tensor Attend(Tensor query, Tensor key, Tensor value, Tensor sinks, int window)
    {
        using var scope = NewDisposeScope();
        // GPU kernels need head sizes that are multiples of 8.
        long size = query.size(3),
            wide = size + 8;
        var factor = Math.Sqrt((double)wide / size); // the kernel divides by the root of the wide size
        var logits = sinks.In(query.dtype).view(1, -1, 1, 1).mul(Scalars.Of(Math.Sqrt(size))).expand(query.size(0), -1, query.size(2), 1);
        static Tensor Pad(Tensor heads, long count) =>
            zeros([heads.size(0), heads.size(1), heads.size(2), count], heads.dtype, heads.device);
        var queries = cat([query, logits, Pad(query, 7)], 3).mul(Scalars.Of(factor));
        var (keys, values) = (cat([key, Pad(key, 8)], 3), cat([value, Pad(value, 8)], 3));
        var first = Pad(keys.narrow(2, 0, 1), wide);
        first.narrow(3, size, 1).fill_(Scalars.One);
        var nothing = Pad(values.narrow(2, 0, 1), wide);
        if (window < key.size(2) || query.size(2) < key.size(2))
            return SlidingWindow
                .Attend(queries, keys, values, (int)Math.Min(window, key.size(2)), (first, nothing))
                .narrow(3, 0, size)
                .MoveToOuterDisposeScope();
        // With one more query before all others, whose result is not used, the causal kernel needs no mask.
        (queries, keys, values) = (cat([Pad(queries.narrow(2, 0, 1), wide), queries], 2), cat([first, keys], 2), cat([nothing, values], 2));
        if (query.device_type != DeviceType.CPU && query.dtype == ScalarType.Float32)
        {
            var times = query.size(1) / key.size(1);
            (keys, values) = (keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1));
        }
        return Dispatcher
            .ScaledDotProductAttention(queries, keys, values, null, causal: true)
            .narrow(2, 1, query.size(2))
            .narrow(3, 0, size)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Attention of the last tokens of a text, outside autograd: [1, H, l, K] against [1, J, n, K].</summary>
    internal static Tensor AttendLast(Tensor query, Tensor key, Tensor value, Tensor sinks, int? window)
    {
        using var scope = NewDisposeScope();
        long fresh = query.size(2),
            past = key.size(2) - fresh,
            groups = key.size(1);
        if (query.device_type != DeviceType.CPU || window < key.size(2))
            return Attend(query, key, value, sinks, window ?? int.MaxValue).MoveToOuterDisposeScope();
        Tensor output,
            sum;
        if (fresh == 1)
        {
            // The query heads of a key-value head are treated as so many tokens.
            var queries = query.reshape(1, groups, query.size(1) / groups, query.size(3));
            (output, sum) = FlashAttention.Forward(queries, key, value, causal: false);
            (output, sum) = (output.reshape(query.shape), sum.reshape(1, -1, 1));
        }
        else
        {
            (output, sum) = FlashAttention.Forward(query, key.narrow(2, past, fresh), value.narrow(2, past, fresh), causal: true);
            if (past > 0)
            {
                var (before, beforeSum) = FlashAttention.Forward(query, key.narrow(2, 0, past), value.narrow(2, 0, past), causal: false);
                AttentionJoin.Add(output, sum, before, beforeSum);
            }
        }
        Join(output, sum, sinks);
        return output.MoveToOuterDisposeScope();
    }
}
