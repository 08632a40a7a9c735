using System.Collections.Concurrent;
using TorchSharp;

namespace LongLora.Runtime;

/// <summary>
/// Numbers as operands of tensor operations, each made once and never collected. TorchSharp turns a number into a native scalar with a finalizer and
/// passes its address on without keeping the object alive: if garbage is collected at that moment, the operation reads freed memory, and fails or,
/// worse, computes with another number (docs/decisions/0006). What runs millions of times in a training run takes its numbers from here.
/// </summary>
internal static class Scalars
{
    private static readonly ConcurrentDictionary<double, Scalar> s_real = [];

    /// <summary>0 as a whole number.</summary>
    internal static Scalar Zero { get; } = 0L;

    /// <summary>A floating-point number.</summary>
    internal static Scalar Of(double value) => s_real.GetOrAdd(value, v => v);
}
