using System.Runtime.Intrinsics;

namespace LongLora.Runtime;

/// <summary>Sixteen numbers in a register of AVX-512. Other processors compute it in halves, with the same results.</summary>
internal readonly unsafe struct Lanes512 : ILanes<Vector512<float>>
{
    /// <inheritdoc/>
    public static int Count => Vector512<float>.Count;

    /// <inheritdoc/>
    public static Vector512<float> Load(float* from) => Vector512.Load(from);

    /// <inheritdoc/>
    public static void Store(Vector512<float> numbers, float* to) => numbers.Store(to);

    /// <inheritdoc/>
    public static Vector512<float> Create(float number) => Vector512.Create(number);

    /// <inheritdoc/>
    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    /// <inheritdoc/>
    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    /// <inheritdoc/>
    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    /// <inheritdoc/>
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Vector512.FusedMultiplyAdd(a, b, c);

    /// <inheritdoc/>
    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) =>
        Vector512.ConditionalSelect(Vector512.GreaterThan(a, b), a, b);

    /// <inheritdoc/>
    public static float Sum(Vector512<float> numbers) => Vector512.Sum(numbers);

    /// <inheritdoc/>
    public static float Largest(Vector512<float> numbers) => Lanes256.Largest(Lanes256.Max(numbers.GetLower(), numbers.GetUpper()));

    /// <inheritdoc/>
    public static Vector512<float> Scale(Vector512<float> numbers, Vector512<float> power) =>
        (numbers.AsInt32() + Vector512.ShiftLeft(power.AsInt32(), 23)).AsSingle();

    /// <inheritdoc/>
    public static Vector512<float> ZeroBelow(Vector512<float> numbers, Vector512<float> other, Vector512<float> limit) =>
        Vector512.AndNot(numbers, Vector512.LessThan(other, limit));
}
