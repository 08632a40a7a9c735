using System.Collections.Concurrent;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Numbers as operands of tensor operations, each made once and never collected. TorchSharp turns a number into a native scalar with a
/// finalizer and passes its address on without keeping the object alive. If garbage is collected at that moment, the operation reads freed
/// memory, and fails or computes with a wrong number (docs/decisions/0006). So no other code of the library makes scalars, or calls a
/// TorchSharp method that does, such as <c>add_(tensor)</c> with its hidden factor of 1. A test reads the compiled code to ensure this.
/// </summary>
internal static class Scalars
{
    private static readonly ConcurrentDictionary<double, Scalar> s_real = [];
    private static readonly ConcurrentDictionary<long, Scalar> s_whole = [];

    /// <summary>0 as an integer.</summary>
    internal static Scalar Zero { get; } = 0L;

    /// <summary>1 as an integer: the factor of every <c>add</c>.</summary>
    internal static Scalar One { get; } = 1L;

    /// <summary>A floating-point number out of a small set; it is kept forever.</summary>
    internal static Scalar Of(double value) => s_real.GetOrAdd(value, v => v);

    /// <summary>An integer out of a small set; it is kept forever.</summary>
    internal static Scalar Of(long value) => s_whole.GetOrAdd(value, v => v);

    /// <summary>Multiplies in place by a number that differs from call to call.</summary>
    internal static void Multiply(Tensor tensor, double factor)
    {
        Scalar scalar = factor;
        tensor.mul_(scalar);
        GC.KeepAlive(scalar);
    }

    /// <summary>[count] int64: <paramref name="first"/> and the integers after it.</summary>
    internal static Tensor Range(long first, long count, Device device)
    {
        var values = new long[count];
        for (var i = 0; i < values.Length; i++)
            values[i] = first + i;
        return tensor(values, device: device);
    }
}
