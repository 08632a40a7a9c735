using System.Numerics;
using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Training;

// z logits [V], p = softmax(z), t the target

/// <summary>Cross-entropy of one row of fp32 logits in memory.</summary>
internal static unsafe class SoftmaxRow
{
    // Vectors that are summed in fp32: a sum of 100,000 small numbers would lose some of them.
    private const int PerSum = 64;

    /// <summary>Turns logits into the gradient of -scale ln p(t): scale p, less scale at t.</summary>
    /// <param name="logits">z; replaced.</param>
    /// <param name="size">V.</param>
    /// <param name="target">t.</param>
    /// <param name="scale">Factor on the gradient.</param>
    /// <returns>-ln p(t).</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Differentiate(float* logits, long size, long target, float scale)
    {
        var (width, i) = (Vector<float>.Count, 0L);
        var largest = FindLargest(logits, size);
        var own = logits[target] - largest;
        var sum = 0.0;
        while (i + width <= size)
        {
            var part = Vector<float>.Zero;
            for (var end = Math.Min(i + PerSum * width, size); i + width <= end; i += width)
            {
                var power = LaneMath.Exp<LanesAny, Vector<float>>(Vector.Load(logits + i) - new Vector<float>(largest));
                power.Store(logits + i);
                part += power;
            }
            sum += Vector.Sum(part);
        }
        for (; i < size; i++)
            sum += logits[i] = MathF.Exp(logits[i] - largest);
        var factor = (float)(scale / sum);
        for (i = 0; i + width <= size; i += width)
            (Vector.Load(logits + i) * factor).Store(logits + i);
        for (; i < size; i++)
            logits[i] *= factor;
        logits[target] -= scale;
        return Math.Log(sum) - own;
    }

    // Not a number if one of them is not.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float FindLargest(float* numbers, long count)
    {
        var (width, i, largest) = (Vector<float>.Count, 0L, float.NegativeInfinity);
        var all = new Vector<float>(largest);
        for (; i + width <= count; i += width)
            all = Vector.Max(all, Vector.Load(numbers + i));
        for (var lane = 0; lane < width; lane++)
            largest = MathF.Max(largest, all[lane]);
        for (; i < count; i++)
            largest = MathF.Max(largest, numbers[i]);
        return largest;
    }
}
