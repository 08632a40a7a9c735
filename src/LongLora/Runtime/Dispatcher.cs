using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using System.Text;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Runs ATen operators that TorchSharp does not bind, through the C function <c>torch_call_dispatcher</c> of libtorch's "stable ABI".
/// Autograd works as in any other call. Each operator has a typed method here, and there is no other way to the dispatcher.
/// </summary>
/// <remarks>
/// Arguments and results are on a stack of 64-bit values. A tensor is an owned handle, a floating-point number its bits, an optional is 0
/// or a pointer to a value that the callee frees, and a list is a handle that the callee takes over.
/// </remarks>
internal static unsafe partial class Dispatcher
{
    // The ABI's version field: major in the top byte, minor in the next (libtorch 2.10).
    private const ulong BuildVersion = (2UL << 56) | (10UL << 48);

    /// <summary>
    /// Fused attention with a softmax scale of 1/sqrt(K). Keys and values may have fewer heads than queries (GQA) and are not copied.
    /// </summary>
    /// <param name="query">[B, H, L, K].</param>
    /// <param name="key">[B, H', S, K], H' a divisor of H.</param>
    /// <param name="value">[B, H', S, K].</param>
    /// <param name="mask">
    /// Boolean [L, S], true where a query may look; null for none. Cannot be combined with <paramref name="causal"/>.
    /// </param>
    /// <param name="causal">Query t sees keys 0..t (aligned top-left: for L = S only).</param>
    /// <returns>[B, H, L, K].</returns>
    public static Tensor ScaledDotProductAttention(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal) =>
        Call(
            "aten::scaled_dot_product_attention",
            "",
            1,
            [query, key, value, Argument.Optional(mask), 0.0, causal, Argument.None, key.size(1) != query.size(1)]
        )[0];

    /// <summary>One fused AdamW step in place (decoupled weight decay, bias correction), on any device.</summary>
    /// <param name="parameter">Weights, changed in place.</param>
    /// <param name="gradient">Their gradient.</param>
    /// <param name="firstMoment">Running mean of the gradient, changed in place.</param>
    /// <param name="secondMoment">Running mean of its square, changed in place.</param>
    /// <param name="step">[] fp32, the number of this step, counted from 1.</param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="beta1">Decay of the first moment.</param>
    /// <param name="beta2">Decay of the second moment.</param>
    /// <param name="weightDecay">Decoupled weight decay.</param>
    /// <param name="epsilon">Added to the root of the second moment.</param>
    public static void FusedAdamW(
        Tensor parameter,
        Tensor gradient,
        Tensor firstMoment,
        Tensor secondMoment,
        Tensor step,
        double learningRate,
        double beta1,
        double beta2,
        double weightDecay,
        double epsilon
    ) =>
        Call(
            "aten::_fused_adamw_",
            "",
            0,
            [
                Argument.List(parameter),
                Argument.List(gradient),
                Argument.List(firstMoment),
                Argument.List(secondMoment),
                Argument.List(),
                Argument.List(step),
                learningRate,
                beta1,
                beta2,
                weightDecay,
                epsilon,
                false,
                false,
                Argument.None,
                Argument.None,
            ]
        );

    /// <summary>An uninitialized tensor in host memory with the shape, strides and type of another.</summary>
    /// <param name="like">A tensor on any device.</param>
    /// <param name="pinned">Whether a GPU can access it at the speed of the bus; needs a GPU.</param>
    internal static Tensor EmptyOnHost(Tensor like, bool pinned) =>
        Call(
            "aten::empty_like",
            "",
            1,
            [like, Argument.None, Argument.None, Argument.Optional(CpuDevice), Argument.Optional(pinned ? 1UL : 0UL), Argument.None]
        )[0];

    // c10::Device: type and index are both 0.
    private const ulong CpuDevice = 0;

    /// <summary>Attention with the CPU's fused kernel, outside autograd, and what its backward pass needs.</summary>
    /// <returns>
    /// Output [B, H, L, K], and the log-sum-exp of each row, [B, L, H] or [B, H, L], for <see cref="FlashAttentionCpuBackward"/>.
    /// </returns>
    internal static (Tensor Output, Tensor LogSumExp) FlashAttentionCpu(Tensor query, Tensor key, Tensor value, bool causal)
    {
        var results = AllocateApart(query, () =>
            Call("aten::_scaled_dot_product_flash_attention_for_cpu", "", 2, [query, key, value, 0.0, causal, Argument.None, Argument.None])
        );
        return (results[0], results[1]);
    }

    /// <summary>
    /// Gradients of <see cref="FlashAttentionCpu"/>. In bf16 on a processor without instructions for it, the kernel runs in fp32.
    /// </summary>
    internal static (Tensor Query, Tensor Key, Tensor Value) FlashAttentionCpuBackward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor logSumExp,
        bool causal
    )
    {
        if (Products.IsWidened(query))
        {
            using var scope = NewDisposeScope();
            static Tensor Widen(Tensor narrow) => narrow.to(ScalarType.Float32);
            var (q, k, v) = FlashAttentionCpuBackward(
                Widen(gradient),
                Widen(query),
                Widen(key),
                Widen(value),
                Widen(output),
                logSumExp,
                causal
            );
            Tensor Round(Tensor wide) => wide.to(query.dtype).MoveToOuterDisposeScope();
            return (Round(q), Round(k), Round(v));
        }
        var results = AllocateApart(query, () =>
            Call(
                "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
                "",
                3,
                [gradient, query, key, value, output, logSumExp, 0.0, causal, Argument.None, Argument.None]
            )
        );
        return (results[0], results[1], results[2]);
    }

    // Results over whole texts would leave holes in the heap.
    private static Tensor[] AllocateApart(Tensor like, Func<Tensor[]> call) =>
        like.numel() > 1 << 20 ? HostMemory.AllocateApart(call) : call();

    /// <summary>How often values were changed in place, counted over all views of them.</summary>
    internal static long GetVersion(Tensor tensor)
    {
        var stack = stackalloc ulong[1];
        Invoke("aten::_version", "", stack, [tensor]);
        return (long)stack[0];
    }

    private static Tensor[] Call(string name, string overload, int resultCount, ReadOnlySpan<Argument> arguments)
    {
        var stack = stackalloc ulong[Math.Max(arguments.Length, resultCount)];
        Invoke(name, overload, stack, arguments);
        var results = new Tensor[resultCount];
        for (var i = 0; i < resultCount; i++)
        {
            // A tensor made from a handle belongs to no scope and would wait for the garbage collector, which does not feel its size.
            using var unowned = Tensor.UnsafeCreateTensor((IntPtr)stack[i]);
            results[i] = unowned.alias();
        }
        return results;
    }

    private static void Invoke(string name, string overload, ulong* stack, ReadOnlySpan<Argument> arguments)
    {
        for (var i = 0; i < arguments.Length; i++)
            stack[i] = arguments[i].Push();
        int failed;
        fixed (byte* nameBytes = Encoding.ASCII.GetBytes(name + '\0'))
        fixed (byte* overloadBytes = Encoding.ASCII.GetBytes(overload + '\0'))
        {
            failed = torch_call_dispatcher(nameBytes, overloadBytes, stack, BuildVersion);
        }
        GC.KeepAlive(arguments.Length > 0 ? arguments[0].Tensor : null);
        if (failed != 0)
            throw new ShapeException(
                $"{name} rejected its arguments ({Describe(arguments)}) or had no memory for its results. libtorch wrote the reason to the "
                    + $"error stream."
            );
    }

    private static string Describe(ReadOnlySpan<Argument> arguments)
    {
        var text = new StringBuilder();
        foreach (var argument in arguments)
        {
            if (argument.Tensor is { } tensor)
                text.Append(text.Length > 0 ? ", " : "").Append(tensor.dtype).Append(" [").AppendJoin(", ", tensor.shape).Append(']');
        }
        return text.ToString();
    }

    private static ulong NewHandle(Tensor tensor)
    {
        IntPtr handle;
        Check(aoti_torch_new_tensor_handle(tensor.Handle, &handle), "aoti_torch_new_tensor_handle");
        return (ulong)handle;
    }

    private static ulong NewList(Tensor[] tensors)
    {
        IntPtr list;
        Check(torch_new_list_reserve_size((nuint)tensors.Length, &list), "torch_new_list_reserve_size");
        foreach (var tensor in tensors)
            Check(torch_list_push_back(list, NewHandle(tensor)), "torch_list_push_back");
        return (ulong)list;
    }

    private static void Check(int failed, string function)
    {
        if (failed != 0)
            throw new InvalidOperationException($"libtorch's {function} failed.");
    }

    private readonly struct Argument
    {
        private readonly ulong _bits;
        private readonly bool _optional;
        private readonly Tensor[]? _list;

        private Argument(ulong bits, Tensor? tensor = null, bool optional = false, Tensor[]? list = null) =>
            (_bits, Tensor, _optional, _list) = (bits, tensor, optional, list);

        public static Argument None => new(0);

        public Tensor? Tensor { get; }

        public static Argument Optional(Tensor? tensor) => tensor is null ? None : new Argument(0, tensor, optional: true);

        public static Argument Optional(ulong bits) => new(bits, optional: true);

        public static Argument List(params Tensor[] tensors) => new(0, list: tensors);

        [SuppressMessage("Usage", "CA2225", Justification = "private; conversions exist for collection expressions")]
        public static implicit operator Argument(Tensor tensor) => new(0, tensor);

        public static implicit operator Argument(double number) => new(BitConverter.DoubleToUInt64Bits(number));

        public static implicit operator Argument(bool value) => new(value ? 1UL : 0UL);

        public ulong Push()
        {
            if (_list is not null)
                return NewList(_list);
            var value = Tensor is null ? _bits : NewHandle(Tensor);
            if (!_optional)
                return value;
            var boxed = (ulong*)NativeMemory.Alloc(sizeof(ulong));
            *boxed = value;
            return (ulong)boxed;
        }
    }

    [LibraryImport("torch_cpu")]
    private static partial int torch_call_dispatcher(byte* name, byte* overload, ulong* stack, ulong version);

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_new_tensor_handle(IntPtr tensor, IntPtr* handle);

    [LibraryImport("torch_cpu")]
    private static partial int torch_new_list_reserve_size(nuint size, IntPtr* list);

    [LibraryImport("torch_cpu")]
    private static partial int torch_list_push_back(IntPtr list, ulong item);
}
