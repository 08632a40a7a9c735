using System.Numerics;
using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Layers;

// D numbers in a row, w their scales, s = 1 / sqrt(mean(x²) + ε)

/// <summary>The loops of <see cref="RmsNorm"/> over rows in memory.</summary>
internal static unsafe class RmsRows
{
    /// <summary>Rows whose parts of the gradient of the scales are added to each other first.</summary>
    public const long PerSum = 128;

    /// <summary>y = w s x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Normalize(RowsAt inputs, float* scales, double epsilon, RowsAt results, long first, long count, long size)
    {
        var room = HostLoop.GetRoom(2 * size);
        for (var row = first; row < first + count; row++)
        {
            float* x = inputs.Read(row, size, room),
                y = results.Open(row, room + size);
            var factor = ComputeFactor(x, epsilon, size);
            var (i, width) = (0L, Vector<float>.Count);
            for (; i + width <= size; i += width)
                (Vector.Load(x + i) * factor * Vector.Load(scales + i)).Store(y + i);
            for (; i < size; i++)
                y[i] = x[i] * factor * scales[i];
            results.Close(row, size, y);
        }
    }

    /// <summary>
    /// For the gradient g of y: that of x, s w g - x s³ sum(w g x) / D; and to <paramref name="sums"/>, if given, it adds that of w, s g x.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Differentiate(
        RowsAt inputs,
        RowsAt gradients,
        float* scales,
        double epsilon,
        RowsAt results,
        float* sums,
        long first,
        long count,
        long size
    )
    {
        var room = HostLoop.GetRoom(3 * size);
        var width = Vector<float>.Count;
        for (var row = first; row < first + count; row++)
        {
            float* x = inputs.Read(row, size, room),
                g = gradients.Read(row, size, room + size),
                result = results.Open(row, room + 2 * size);
            var factor = ComputeFactor(x, epsilon, size);
            var part = MultiplyAndSum(x, g, scales, size) * factor * factor / size;
            var i = 0L;
            for (; i + width <= size; i += width)
            {
                Vector<float> own = Vector.Load(x + i),
                    outer = Vector.Load(g + i);
                ((outer * Vector.Load(scales + i) - own * part) * factor).Store(result + i);
                if (sums is not null)
                    (Vector.Load(sums + i) + outer * own * factor).Store(sums + i);
            }
            for (; i < size; i++)
            {
                result[i] = (g[i] * scales[i] - x[i] * part) * factor;
                if (sums is not null)
                    sums[i] += g[i] * x[i] * factor;
            }
            results.Close(row, size, result);
        }
    }

    // Sum of w g x.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float MultiplyAndSum(float* x, float* g, float* scales, long size)
    {
        var width = Vector<float>.Count;
        Vector<float> even = default,
            odd = default;
        var i = 0L;
        for (; i + 2 * width <= size; i += 2 * width)
        {
            even = Vector.MultiplyAddEstimate(Vector.Load(g + i) * Vector.Load(scales + i), Vector.Load(x + i), even);
            odd = Vector.MultiplyAddEstimate(Vector.Load(g + i + width) * Vector.Load(scales + i + width), Vector.Load(x + i + width), odd);
        }
        var sum = Vector.Sum(even + odd);
        for (; i < size; i++)
            sum += g[i] * scales[i] * x[i];
        return sum;
    }

    private static float ComputeFactor(float* x, double epsilon, long size) =>
        1 / MathF.Sqrt(StoredNumbers.Dot<StoredNumbers.Fp32, float>(x, x, size) / size + (float)epsilon);
}
