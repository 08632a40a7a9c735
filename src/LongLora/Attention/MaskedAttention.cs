using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, H query heads, J key-value heads (a divisor of H), l queries, n keys, K head size

/// <summary>Attention with a mask, using the fused kernel of each device.</summary>
internal static class MaskedAttention
{
    /// <summary>softmax(q kᵀ / sqrt(K) where the mask is true) v; differentiable.</summary>
    /// <param name="query">[B, H, l, K].</param>
    /// <param name="key">[B, J, n, K].</param>
    /// <param name="value">[B, J, n, K].</param>
    /// <param name="mask">Boolean [l, n], true where a query may look.</param>
    internal static Tensor Attend(Tensor query, Tensor key, Tensor value, Tensor mask) =>
        query.device_type == DeviceType.CPU || query.size(1) == key.size(1)
            ? Dispatcher.ScaledDotProductAttention(query, key, value, mask, causal: false)
            : AttendFolded(query, key, value, mask);

    /// <summary>
    /// The same for CUDA, where the kernel for masks may not accept shared heads and libtorch would compute the full scores of all heads
    /// instead. The query heads that share a key-value head become more queries of one head.
    /// </summary>
    internal static Tensor AttendFolded(Tensor query, Tensor key, Tensor value, Tensor mask)
    {
        using var scope = NewDisposeScope();
        long[] shape = query.shape;
        var times = shape[1] / key.size(1);
        var folded = query.reshape(shape[0], key.size(1), times * shape[2], shape[3]); // [B, H, l, K] -> [B, J, H/J l, K]
        return Dispatcher
            .ScaledDotProductAttention(folded, key, value, mask.repeat(times, 1), causal: false)
            .reshape(shape)
            .MoveToOuterDisposeScope();
    }
}
