using System.Numerics;

namespace LongLora.Runtime;

/// <summary>The vector that .NET uses on any processor, for loops that wait for memory more than for registers.</summary>
internal readonly unsafe struct LanesAny : ILanes<Vector<float>>
{
    /// <inheritdoc/>
    public static int Count => Vector<float>.Count;

    /// <inheritdoc/>
    public static Vector<float> Load(float* from) => Vector.Load(from);

    /// <inheritdoc/>
    public static void Store(Vector<float> numbers, float* to) => numbers.Store(to);

    /// <inheritdoc/>
    public static Vector<float> Create(float number) => new(number);

    /// <inheritdoc/>
    public static Vector<float> Add(Vector<float> a, Vector<float> b) => a + b;

    /// <inheritdoc/>
    public static Vector<float> Subtract(Vector<float> a, Vector<float> b) => a - b;

    /// <inheritdoc/>
    public static Vector<float> Multiply(Vector<float> a, Vector<float> b) => a * b;

    /// <inheritdoc/>
    public static Vector<float> MultiplyAdd(Vector<float> a, Vector<float> b, Vector<float> c) => Vector.FusedMultiplyAdd(a, b, c);

    /// <inheritdoc/>
    public static Vector<float> Max(Vector<float> a, Vector<float> b) => Vector.ConditionalSelect(Vector.GreaterThan(a, b), a, b);

    /// <inheritdoc/>
    public static float Sum(Vector<float> numbers) => Vector.Sum(numbers);

    /// <inheritdoc/>
    public static float Largest(Vector<float> numbers)
    {
        var largest = numbers[0];
        for (var i = 1; i < Count; i++)
            largest = numbers[i] > largest ? numbers[i] : largest;
        return largest;
    }

    /// <inheritdoc/>
    public static Vector<float> Scale(Vector<float> numbers, Vector<float> power) =>
        (numbers.As<float, int>() + (power.As<float, int>() << 23)).As<int, float>();

    /// <inheritdoc/>
    public static Vector<float> ZeroBelow(Vector<float> numbers, Vector<float> other, Vector<float> limit) =>
        Vector.ConditionalSelect(Vector.LessThan(other, limit), Vector<float>.Zero, numbers);
}
