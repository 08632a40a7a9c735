using System.Numerics;
using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Layers;

// a the gate, u up, y = a σ(a) u

/// <summary>The loops of <see cref="GatedActivation"/> with SiLU over rows in memory.</summary>
internal static unsafe class SiluRows
{
    // e to this is still finite, and σ of its negative is 0 to all digits.
    private const float Lowest = -88;

    private static int Width => Vector<float>.Count;

    /// <summary>y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(RowsAt gates, RowsAt ups, RowsAt results, long first, long count, long size)
    {
        var room = HostLoop.GetRoom(3 * size);
        for (var row = first; row < first + count; row++)
        {
            float* a = gates.Read(row, size, room),
                u = ups.Read(row, size, room + size),
                y = results.Open(row, room + 2 * size);
            var i = 0L;
            for (; i + Width <= size; i += Width)
            {
                var gate = Vector.Load(a + i);
                (gate * Sigmoid(gate) * Vector.Load(u + i)).Store(y + i);
            }
            for (; i < size; i++)
                y[i] = a[i] * Sigmoid(a[i]) * u[i];
            results.Close(row, size, y);
        }
    }

    /// <summary>For the gradient g of y: that of a, g u σ (1 + a (1 - σ)), and that of u, g a σ.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Differentiate(
        RowsAt gates,
        RowsAt ups,
        RowsAt gradients,
        RowsAt gateGradients,
        RowsAt upGradients,
        long first,
        long count,
        long size
    )
    {
        var room = HostLoop.GetRoom(5 * size);
        for (var row = first; row < first + count; row++)
        {
            float* a = gates.Read(row, size, room),
                u = ups.Read(row, size, room + size),
                g = gradients.Read(row, size, room + 2 * size),
                ofA = gateGradients.Open(row, room + 3 * size),
                ofU = upGradients.Open(row, room + 4 * size);
            var i = 0L;
            for (; i + Width <= size; i += Width)
            {
                Vector<float> gate = Vector.Load(a + i),
                    outer = Vector.Load(g + i),
                    up = Vector.Load(u + i),
                    share = Sigmoid(gate),
                    silu = gate * share;
                (outer * up * (share + silu * (Vector<float>.One - share))).Store(ofA + i);
                (outer * silu).Store(ofU + i);
            }
            for (; i < size; i++)
            {
                var (share, outer, up) = (Sigmoid(a[i]), g[i], u[i]);
                ofU[i] = outer * a[i] * share;
                ofA[i] = outer * up * (share + a[i] * share * (1 - share));
            }
            gateGradients.Close(row, size, ofA);
            upGradients.Close(row, size, ofU);
        }
    }

    // σ(x) = 1 / (1 + e⁻ˣ).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<float> Sigmoid(Vector<float> x) =>
        Vector<float>.One / (Vector<float>.One + LaneMath.Exp<LanesAny, Vector<float>>(-LanesAny.Max(new Vector<float>(Lowest), x)));

    private static float Sigmoid(float x) => 1 / (1 + MathF.Exp(-x));
}
