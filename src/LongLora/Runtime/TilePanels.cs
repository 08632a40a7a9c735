using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LongLora.Runtime;

/// <summary>Lays out blocks of tokens for products of tiles (<see cref="TileProduct"/>).</summary>
internal static unsafe class TilePanels
{
    /// <summary>Rows, one after the other, times a factor.</summary>
    /// <param name="rows">The first number of the first row.</param>
    /// <param name="stride">Numbers from a row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="size">Numbers of a row.</param>
    /// <param name="factor">What each is multiplied by.</param>
    /// <param name="block">[count, size].</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CopyRows(float* rows, long stride, int count, int size, float factor, float* block)
    {
        for (var r = 0; r < count; r++, rows += stride, block += size)
        {
            var i = 0;
            for (; i <= size - Vector256<float>.Count; i += Vector256<float>.Count)
                (Vector256.Load(rows + i) * factor).Store(block + i);
            for (; i < size; i++)
                block[i] = rows[i] * factor;
        }
    }

    /// <summary>Rows cut into panels of some columns; the rows of a panel follow each other.</summary>
    /// <param name="rows">The first number of the first row.</param>
    /// <param name="stride">Numbers from a row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="size">Numbers of a row.</param>
    /// <param name="width">Columns of a panel, a multiple of 8.</param>
    /// <param name="panelRows">Rows of a panel in memory.</param>
    /// <param name="factor">What each number is multiplied by.</param>
    /// <param name="panels">[⌈size / width⌉, panelRows, width], of which count rows are written; columns behind the last are 0.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CutIntoPanels(float* rows, long stride, int count, int size, int width, int panelRows, float factor, float* panels)
    {
        for (var first = 0; first < size; first += width, panels += (long)panelRows * width)
        {
            float* from = rows + first,
                to = panels;
            var columns = Math.Min(width, size - first);
            for (var r = 0; r < count; r++, from += stride, to += width)
            {
                var i = 0;
                for (; i <= columns - Vector256<float>.Count; i += Vector256<float>.Count)
                    (Vector256.Load(from + i) * factor).Store(to + i);
                for (; i < columns; i++)
                    to[i] = from[i] * factor;
                for (; i < width; i++)
                    to[i] = 0;
            }
        }
    }

    /// <summary>Rows as columns, cut into panels of some columns.</summary>
    /// <param name="rows">The first number of the first row.</param>
    /// <param name="stride">Numbers from a row to the next.</param>
    /// <param name="count">Rows.</param>
    /// <param name="size">Numbers of a row.</param>
    /// <param name="width">Columns of a panel, a multiple of 8.</param>
    /// <param name="factor">What each number is multiplied by.</param>
    /// <param name="panels">[⌈count / width⌉, size, width]; columns behind the last are 0.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TransposeIntoPanels(float* rows, long stride, int count, int size, int width, float factor, float* panels)
    {
        for (var first = 0; first < count; first += width, panels += (long)size * width)
        {
            for (var column = 0; column < width; column += 8)
            {
                var used = Math.Clamp(count - first - column, 0, 8);
                var from = rows + (first + column) * stride;
                var i = 0;
                if (used == 8)
                {
                    for (; i <= size - 8; i += 8)
                        Transpose(from + i, stride, factor, panels + (long)i * width + column, width);
                }
                for (; i < size; i++)
                {
                    var to = panels + (long)i * width + column;
                    for (var r = 0; r < 8; r++)
                        to[r] = r < used ? from[r * stride + i] * factor : 0;
                }
            }
        }
    }

    // Eight rows of eight numbers, times a factor.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(float* from, long stride, float factor, float* to, long toStride)
    {
        Vector256<float> r0 = Vector256.Load(from),
            r1 = Vector256.Load(from + stride),
            r2 = Vector256.Load(from + 2 * stride),
            r3 = Vector256.Load(from + 3 * stride),
            r4 = Vector256.Load(from + 4 * stride),
            r5 = Vector256.Load(from + 5 * stride),
            r6 = Vector256.Load(from + 6 * stride),
            r7 = Vector256.Load(from + 7 * stride);
        // Pairs of numbers of two rows, then fours of four rows, then eights.
        Vector256<float> p0 = Avx.UnpackLow(r0, r1),
            p1 = Avx.UnpackHigh(r0, r1),
            p2 = Avx.UnpackLow(r2, r3),
            p3 = Avx.UnpackHigh(r2, r3),
            p4 = Avx.UnpackLow(r4, r5),
            p5 = Avx.UnpackHigh(r4, r5),
            p6 = Avx.UnpackLow(r6, r7),
            p7 = Avx.UnpackHigh(r6, r7);
        Vector256<float> f0 = Avx.Shuffle(p0, p2, 0x44),
            f1 = Avx.Shuffle(p0, p2, 0xEE),
            f2 = Avx.Shuffle(p1, p3, 0x44),
            f3 = Avx.Shuffle(p1, p3, 0xEE),
            f4 = Avx.Shuffle(p4, p6, 0x44),
            f5 = Avx.Shuffle(p4, p6, 0xEE),
            f6 = Avx.Shuffle(p5, p7, 0x44),
            f7 = Avx.Shuffle(p5, p7, 0xEE);
        (Avx.Permute2x128(f0, f4, 0x20) * factor).Store(to);
        (Avx.Permute2x128(f1, f5, 0x20) * factor).Store(to + toStride);
        (Avx.Permute2x128(f2, f6, 0x20) * factor).Store(to + 2 * toStride);
        (Avx.Permute2x128(f3, f7, 0x20) * factor).Store(to + 3 * toStride);
        (Avx.Permute2x128(f0, f4, 0x31) * factor).Store(to + 4 * toStride);
        (Avx.Permute2x128(f1, f5, 0x31) * factor).Store(to + 5 * toStride);
        (Avx.Permute2x128(f2, f6, 0x31) * factor).Store(to + 6 * toStride);
        (Avx.Permute2x128(f3, f7, 0x31) * factor).Store(to + 7 * toStride);
    }
}
