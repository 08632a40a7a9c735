using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LongLora.Runtime;

/// <summary>Eight numbers in a register of AVX2.</summary>
internal readonly unsafe struct Lanes256 : ILanes<Vector256<float>>
{
    /// <inheritdoc/>
    public static int Count => Vector256<float>.Count;

    /// <inheritdoc/>
    public static Vector256<float> Load(float* from) => Vector256.Load(from);

    /// <inheritdoc/>
    public static void Store(Vector256<float> numbers, float* to) => numbers.Store(to);

    /// <inheritdoc/>
    public static Vector256<float> Create(float number) => Vector256.Create(number);

    /// <inheritdoc/>
    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    /// <inheritdoc/>
    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    /// <inheritdoc/>
    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    /// <inheritdoc/>
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Fma.MultiplyAdd(a, b, c);

    /// <inheritdoc/>
    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Avx.Max(a, b);

    /// <inheritdoc/>
    public static float Sum(Vector256<float> numbers) => Vector256.Sum(numbers);

    /// <inheritdoc/>
    public static float Largest(Vector256<float> numbers)
    {
        var half = Sse.Max(numbers.GetLower(), numbers.GetUpper());
        half = Sse.Max(half, Vector128.Shuffle(half, Vector128.Create(2, 3, 0, 1)));
        return Sse.Max(half, Vector128.Shuffle(half, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    /// <inheritdoc/>
    public static Vector256<float> Scale(Vector256<float> numbers, Vector256<float> power) =>
        (numbers.AsInt32() + Vector256.ShiftLeft(power.AsInt32(), 23)).AsSingle();

    /// <inheritdoc/>
    public static Vector256<float> ZeroBelow(Vector256<float> numbers, Vector256<float> other, Vector256<float> limit) =>
        Vector256.AndNot(numbers, Vector256.LessThan(other, limit));
}
