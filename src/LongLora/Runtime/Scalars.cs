using System.Collections.Concurrent;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Numbers as operands of tensor operations, each made once and never collected. TorchSharp turns a number into a native scalar with a
/// finalizer and passes its address on without keeping the object alive: if garbage is collected at that moment, the operation reads
/// freed memory, and fails or, worse, computes with another number (docs/decisions/0006). So no other code of the library makes one, nor
/// calls a method of TorchSharp that does, such as <c>add_(tensor)</c> with its hidden factor of 1; a test reads the compiled code to
/// keep it so.
/// </summary>
internal static class Scalars
{
    private static readonly ConcurrentDictionary<double, Scalar> s_real = [];
    private static readonly ConcurrentDictionary<long, Scalar> s_whole = [];

    /// <summary>0 as a whole number.</summary>
    internal static Scalar Zero { get; } = 0L;

    /// <summary>1 as a whole number; the factor of every <c>add</c>.</summary>
    internal static Scalar One { get; } = 1L;

    /// <summary>A floating-point number, one of few: it is kept.</summary>
    internal static Scalar Of(double value) => s_real.GetOrAdd(value, v => v);

    /// <summary>A whole number, one of few: it is kept.</summary>
    internal static Scalar Of(long value) => s_whole.GetOrAdd(value, v => v);

    /// <summary>Multiplies in place by a number that is another one each time.</summary>
    internal static void Multiply(Tensor tensor, double factor)
    {
        Scalar scalar = factor;
        tensor.mul_(scalar);
        GC.KeepAlive(scalar);
    }

    /// <summary>[count] int64: <paramref name="first"/> and those that follow it.</summary>
    internal static Tensor Range(long first, long count, Device device)
    {
        var values = new long[count];
        for (var i = 0; i < values.Length; i++)
            values[i] = first + i;
        return tensor(values, device: device);
    }
}
