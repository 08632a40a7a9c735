using System.Runtime.CompilerServices;

namespace LongLora.Runtime;

/// <summary>The product of a few rows and columns, whose sums stay in registers: what products of matrices are made of.</summary>
internal static unsafe class TileProduct
{
    /// <summary>Rows of a tile. Twelve sums, two vectors and one number fit into the sixteen registers of AVX2.</summary>
    public const int Rows = 6;

    /// <summary>Vectors in a row of a tile.</summary>
    public const int Vectors = 2;

    /// <summary>C = A B, or C += A B, for a tile C of 6 rows and 2 vectors.</summary>
    /// <param name="a">A(r, k) is at a + r · <paramref name="rowStride"/> + k · <paramref name="stepStride"/>.</param>
    /// <param name="rowStride">Numbers from a row of A to the next.</param>
    /// <param name="stepStride">Numbers from a column of A to the next.</param>
    /// <param name="b">B, whose rows of 2 vectors follow each other.</param>
    /// <param name="steps">Columns of A and rows of B.</param>
    /// <param name="c">C.</param>
    /// <param name="cStride">Numbers from a row of C to the next.</param>
    /// <param name="adds">Whether the product is added to C.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TLanes, V>(
        float* a,
        long rowStride,
        long stepStride,
        float* b,
        long steps,
        float* c,
        long cStride,
        bool adds
    )
        where TLanes : ILanes<V>
        where V : struct
    {
        V c00 = default,
            c01 = default,
            c10 = default,
            c11 = default,
            c20 = default,
            c21 = default,
            c30 = default,
            c31 = default,
            c40 = default,
            c41 = default,
            c50 = default,
            c51 = default;
        // Distances of 0, 1 and 2 rows from two pointers are addresses of one instruction.
        var lower = a + 3 * rowStride;
        var end = b + steps * Vectors * TLanes.Count;
        for (; b < end; b += Vectors * TLanes.Count)
        {
            V b0 = TLanes.Load(b),
                b1 = TLanes.Load(b + TLanes.Count);
            var x = TLanes.Create(a[0]);
            c00 = TLanes.MultiplyAdd(x, b0, c00);
            c01 = TLanes.MultiplyAdd(x, b1, c01);
            x = TLanes.Create(a[rowStride]);
            c10 = TLanes.MultiplyAdd(x, b0, c10);
            c11 = TLanes.MultiplyAdd(x, b1, c11);
            x = TLanes.Create(a[2 * rowStride]);
            c20 = TLanes.MultiplyAdd(x, b0, c20);
            c21 = TLanes.MultiplyAdd(x, b1, c21);
            x = TLanes.Create(lower[0]);
            c30 = TLanes.MultiplyAdd(x, b0, c30);
            c31 = TLanes.MultiplyAdd(x, b1, c31);
            x = TLanes.Create(lower[rowStride]);
            c40 = TLanes.MultiplyAdd(x, b0, c40);
            c41 = TLanes.MultiplyAdd(x, b1, c41);
            x = TLanes.Create(lower[2 * rowStride]);
            c50 = TLanes.MultiplyAdd(x, b0, c50);
            c51 = TLanes.MultiplyAdd(x, b1, c51);
            a += stepStride;
            lower += stepStride;
        }
        if (adds)
        {
            AddRow<TLanes, V>(c, c00, c01);
            AddRow<TLanes, V>(c + cStride, c10, c11);
            AddRow<TLanes, V>(c + 2 * cStride, c20, c21);
            AddRow<TLanes, V>(c + 3 * cStride, c30, c31);
            AddRow<TLanes, V>(c + 4 * cStride, c40, c41);
            AddRow<TLanes, V>(c + 5 * cStride, c50, c51);
            return;
        }
        StoreRow<TLanes, V>(c, c00, c01);
        StoreRow<TLanes, V>(c + cStride, c10, c11);
        StoreRow<TLanes, V>(c + 2 * cStride, c20, c21);
        StoreRow<TLanes, V>(c + 3 * cStride, c30, c31);
        StoreRow<TLanes, V>(c + 4 * cStride, c40, c41);
        StoreRow<TLanes, V>(c + 5 * cStride, c50, c51);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<TLanes, V>(float* c, V first, V second)
        where TLanes : ILanes<V>
        where V : struct
    {
        TLanes.Store(first, c);
        TLanes.Store(second, c + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRow<TLanes, V>(float* c, V first, V second)
        where TLanes : ILanes<V>
        where V : struct
    {
        TLanes.Store(TLanes.Add(TLanes.Load(c), first), c);
        TLanes.Store(TLanes.Add(TLanes.Load(c + TLanes.Count), second), c + TLanes.Count);
    }
}
