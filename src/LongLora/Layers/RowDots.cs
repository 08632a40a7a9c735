using System.Numerics;
using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Layers;

// N rows, I inputs, O outputs

/// <summary>
/// Products of rows of a matrix, in the type that they are stored in, with a few rows x in fp32. Two of either are multiplied at a time, so
/// that four numbers that were loaded serve four products. Each product is summed in the same order, whatever it is computed beside.
/// </summary>
internal static unsafe class RowDots
{
    /// <summary>Computes y = x Wᵀ for some rows of W.</summary>
    /// <param name="weights">Rows of W, one after the other.</param>
    /// <param name="count">How many.</param>
    /// <param name="x">[N, I].</param>
    /// <param name="shape">N, I.</param>
    /// <param name="y">Where x's first row's products go.</param>
    /// <param name="stride">From there to the next row's.</param>
    public static void Multiply<TStored, T>(T* weights, long count, float* x, long[] shape, float* y, long stride)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var (rows, inputs) = (shape[0], shape[1]);
        for (var i = 0L; i < count; i += 2, weights += 2 * inputs)
        {
            var isPair = i + 1 < count;
            var second = isPair ? weights + inputs : weights;
            // The last one is multiplied twice.
            var next = isPair ? 1 : 0;
            var n = 0L;
            for (; n + 2 <= rows; n += 2)
            {
                float* from = x + n * inputs,
                    to = y + n * stride + i;
                Multiply<TStored, T>(weights, second, from, from + inputs, inputs, to, to + next, to + stride, to + stride + next);
            }
            if (n < rows)
                Multiply<TStored, T>(weights, second, x + n * inputs, inputs, y + n * stride + i, y + n * stride + i + next);
        }
    }

    // Rows a and b with rows x and z.
    private static void Multiply<TStored, T>(T* a, T* b, float* x, float* z, long inputs, float* ax, float* bx, float* az, float* bz)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var width = Vector<float>.Count;
        Vector<float> ax0 = default,
            ax1 = default,
            bx0 = default,
            bx1 = default,
            az0 = default,
            az1 = default,
            bz0 = default,
            bz1 = default;
        var i = 0L;
        for (; i + 2 * width <= inputs; i += 2 * width)
        {
            var (a0, a1) = TStored.Load(a + i);
            var (b0, b1) = TStored.Load(b + i);
            var x0 = Vector.Load(x + i);
            ax0 = Vector.MultiplyAddEstimate(a0, x0, ax0);
            bx0 = Vector.MultiplyAddEstimate(b0, x0, bx0);
            var z0 = Vector.Load(z + i);
            az0 = Vector.MultiplyAddEstimate(a0, z0, az0);
            bz0 = Vector.MultiplyAddEstimate(b0, z0, bz0);
            var x1 = Vector.Load(x + i + width);
            ax1 = Vector.MultiplyAddEstimate(a1, x1, ax1);
            bx1 = Vector.MultiplyAddEstimate(b1, x1, bx1);
            var z1 = Vector.Load(z + i + width);
            az1 = Vector.MultiplyAddEstimate(a1, z1, az1);
            bz1 = Vector.MultiplyAddEstimate(b1, z1, bz1);
        }
        *ax = Finish<TStored, T>(ax0 + ax1, a, x, i, inputs);
        *bx = Finish<TStored, T>(bx0 + bx1, b, x, i, inputs);
        *az = Finish<TStored, T>(az0 + az1, a, z, i, inputs);
        *bz = Finish<TStored, T>(bz0 + bz1, b, z, i, inputs);
    }

    // Rows a and b with row x.
    private static void Multiply<TStored, T>(T* a, T* b, float* x, long inputs, float* ax, float* bx)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var width = Vector<float>.Count;
        Vector<float> ax0 = default,
            ax1 = default,
            bx0 = default,
            bx1 = default;
        var i = 0L;
        for (; i + 2 * width <= inputs; i += 2 * width)
        {
            var (a0, a1) = TStored.Load(a + i);
            var (b0, b1) = TStored.Load(b + i);
            var (x0, x1) = (Vector.Load(x + i), Vector.Load(x + i + width));
            ax0 = Vector.MultiplyAddEstimate(a0, x0, ax0);
            ax1 = Vector.MultiplyAddEstimate(a1, x1, ax1);
            bx0 = Vector.MultiplyAddEstimate(b0, x0, bx0);
            bx1 = Vector.MultiplyAddEstimate(b1, x1, bx1);
        }
        *ax = Finish<TStored, T>(ax0 + ax1, a, x, i, inputs);
        *bx = Finish<TStored, T>(bx0 + bx1, b, x, i, inputs);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Finish<TStored, T>(Vector<float> sums, T* weights, float* x, long from, long inputs)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var sum = Vector.Sum(sums);
        for (var i = from; i < inputs; i++)
            sum += TStored.Widen(weights[i]) * x[i];
        return sum;
    }
}
