using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, H query heads, J key-value heads (a divisor of H), L queries, S keys, K head size

/// <summary>
/// Attention on the CPU that never holds more than a block of scores, outside autograd: softmax(q kᵀ / sqrt(K)) v, causal or not. On
/// x86-64 it is computed here, in fp32 for heads in fp32 or bf16; on other processors and for other types by libtorch's fused kernel.
/// libtorch multiplies the blocks by general products, which pack their operands anew each time.
/// </summary>
internal static unsafe class FlashAttention
{
    // About 20 µs of work.
    private const double PairsPerThread = 8 << 10;

    /// <summary>Whether a call is computed here.</summary>
    public static bool Takes(Tensor query) =>
        query.dtype is ScalarType.Float32 or ScalarType.BFloat16 && Avx2.IsSupported && Fma.IsSupported;

    /// <summary>Output and log-sum-exp.</summary>
    /// <param name="query">[B, H, L, K].</param>
    /// <param name="key">[B, J, S, K].</param>
    /// <param name="value">[B, J, S, K].</param>
    /// <param name="causal">Whether query i looks at the keys 0 to i only; L must be S.</param>
    /// <returns>Output [B, H, L, K], with heads next to each other, and the log-sum-exp of each row, [B, H, L] in fp32.</returns>
    public static (Tensor Output, Tensor LogSumExp) Forward(Tensor query, Tensor key, Tensor value, bool causal) =>
        Forward(query, key, value, causal, Vector512.IsHardwareAccelerated);

    /// <summary>The same in registers of AVX-512 or of AVX2. Tests use both on any processor.</summary>
    internal static (Tensor Output, Tensor LogSumExp) Forward(Tensor query, Tensor key, Tensor value, bool causal, bool isWide)
    {
        if (!Takes(query))
            return Dispatcher.FlashAttentionCpu(query, key, value, causal);
        var output = AllocateLike(query);
        return (output, Forward(query, key, value, output, causal, isWide));
    }

    /// <summary>Writes the output into a given tensor [B, H, L, K], whose heads may lie apart, and returns the log-sum-exp.</summary>
    public static Tensor ForwardInto(Tensor output, Tensor query, Tensor key, Tensor value, bool causal)
    {
        if (Takes(query) && output.stride(3) == 1)
            return Forward(query, key, value, output, causal, Vector512.IsHardwareAccelerated);
        var (made, logSumExp) = Forward(query, key, value, causal);
        output.copy_(made);
        made.Dispose();
        return logSumExp;
    }

    private static Tensor Forward(Tensor query, Tensor key, Tensor value, Tensor output, bool causal, bool isWide)
    {
        using var scope = NewDisposeScope();
        var sizes = Measure(query, key, causal);
        var (q, k, v) = (HeadRows.Lay(query), HeadRows.Lay(key), HeadRows.Lay(value));
        var logSumExp = empty([sizes.Batch, sizes.Heads, sizes.Queries], ScalarType.Float32);
        var sums = (float*)NativeTensor.GetPointer(logSumExp);
        var threads = CountThreads(sizes);
        if (isWide)
            FlashForward<Lanes512, Vector512<float>>.Run(new(q), new(k), new(v), new(output), sums, sizes, threads);
        else
            FlashForward<Lanes256, Vector256<float>>.Run(new(q), new(k), new(v), new(output), sums, sizes, threads);
        KeepAlive(q, k, v, output);
        return logSumExp.MoveToOuterDisposeScope();
    }

    /// <summary>Gradients of the arguments of the forward pass.</summary>
    /// <param name="gradient">Of the output, [B, H, L, K].</param>
    /// <param name="query">[B, H, L, K].</param>
    /// <param name="key">[B, J, S, K].</param>
    /// <param name="value">[B, J, S, K].</param>
    /// <param name="output">[B, H, L, K].</param>
    /// <param name="logSumExp">[B, H, L]. Both may be sums over more keys than these.</param>
    /// <param name="causal">As in the forward pass.</param>
    public static (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        bool causal
    ) => Backward(gradient, query, key, value, output, logSumExp, causal, Vector512.IsHardwareAccelerated);

    /// <summary>The same in registers of AVX-512 or of AVX2.</summary>
    internal static (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        bool causal,
        bool isWide
    )
    {
        if (!Takes(query))
            return Dispatcher.FlashAttentionCpuBackward(gradient, query, key, value, output, logSumExp, causal);
        var into = (Query: AllocateLike(query), Key: AllocateLike(key), Value: AllocateLike(value));
        Backward(into, gradient, query, key, value, output, logSumExp, causal, isWide);
        return into;
    }

    /// <summary>Writes the gradients into given tensors, whose heads may lie apart.</summary>
    public static void BackwardInto(
        (Tensor Query, Tensor Key, Tensor Value) into,
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        bool causal
    )
    {
        if (Takes(query) && into.Query.stride(3) == 1 && into.Key.stride(3) == 1 && into.Value.stride(3) == 1)
        {
            Backward(into, gradient, query, key, value, output, logSumExp, causal, Vector512.IsHardwareAccelerated);
            return;
        }
        using var scope = NewDisposeScope();
        var (q, k, v) = Backward(gradient, query, key, value, output, logSumExp, causal);
        into.Query.copy_(q);
        into.Key.copy_(k);
        into.Value.copy_(v);
    }

    private static void Backward(
        (Tensor Query, Tensor Key, Tensor Value) into,
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        bool causal,
        bool isWide
    )
    {
        using var scope = NewDisposeScope();
        var sizes = Measure(query, key, causal);
        var (g, q, k, v, o) = (HeadRows.Lay(gradient), HeadRows.Lay(query), HeadRows.Lay(key), HeadRows.Lay(value), HeadRows.Lay(output));
        logSumExp = logSumExp.contiguous();
        var forward = (new HeadRows(q), new HeadRows(k), new HeadRows(v), new HeadRows(g), new HeadRows(o));
        var gradients = (new HeadRows(into.Query), new HeadRows(into.Key), new HeadRows(into.Value));
        // Blocks of keys add to it in turn, which would round each time in a narrow type.
        var wide = gradients.Item1.IsSingle ? into.Query : AllocateLike(query, ScalarType.Float32);
        var delta = empty([sizes.Batch, sizes.Heads, sizes.Queries], ScalarType.Float32);
        float* sums = (float*)NativeTensor.GetPointer(logSumExp),
            deltas = (float*)NativeTensor.GetPointer(delta);
        var threads = CountThreads(sizes);
        if (isWide)
            FlashBackward<Lanes512, Vector512<float>>.Run(forward, sums, deltas, gradients, new(wide), sizes, threads);
        else
            FlashBackward<Lanes256, Vector256<float>>.Run(forward, sums, deltas, gradients, new(wide), sizes, threads);
        KeepAlive(g, q, k, v, o, wide, into.Query, into.Key, into.Value);
    }

    // Until here: a tensor that belongs to no scope may otherwise be freed while its memory is in use.
    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (var tensor in tensors)
            GC.KeepAlive(tensor);
    }

    private static FlashSizes Measure(Tensor query, Tensor key, bool causal)
    {
        var sizes = new FlashSizes(
            query.size(0),
            query.size(1),
            key.size(1),
            checked((int)query.size(2)),
            checked((int)key.size(2)),
            checked((int)query.size(3)),
            causal
        );
        return !causal || sizes.Queries == sizes.Keys
            ? sizes
            : throw new ShapeException($"Causal attention needs as many queries as keys, but there are {sizes.Queries} and {sizes.Keys}.");
    }

    private static long CountThreads(FlashSizes sizes) => (long)Math.Max(1, sizes.Pairs * sizes.Size / (64 * PairsPerThread));

    // [B, H, L, K] with the strides of [B, L, H, K].
    private static Tensor AllocateLike(Tensor heads, ScalarType? type = null)
    {
        Tensor Allocate() => empty([heads.size(0), heads.size(2), heads.size(1), heads.size(3)], type ?? heads.dtype);
        using var tokens = heads.numel() > 1 << 20 ? HostMemory.AllocateApart(Allocate) : Allocate();
        return tokens.transpose(1, 2);
    }
}
