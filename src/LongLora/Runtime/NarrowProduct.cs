using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace LongLora.Runtime;

// N rows, I columns, r narrow columns

/// <summary>
/// Products in fp32 of a large matrix and one of fewer than 16 columns, as LoRA has them, on x86-64. MKL computes them at a tenth to a
/// third of its rate for products of 16 columns and more. Results do not depend on the number of threads, nor those of a row on other rows.
/// </summary>
internal static unsafe class NarrowProduct
{
    // Two vectors.
    private const int Width = 16;

    private const int TileRows = TileProduct.Rows;

    // Below this it is not worth it.
    private const long FewestNumbers = 64 << 10;

    // Rows whose parts of a sum are added first, and rows and columns that fit into a second-level cache together.
    private const long PerSum = 1024,
        MostSums = 64,
        CachedRows = 128,
        CachedColumns = 510; // a multiple of a tile's rows

    /// <summary>Whether a product of rows [N, I] and <paramref name="columns"/> columns is computed here.</summary>
    public static bool Takes(Tensor rows, long columns) =>
        columns < Width
        && Avx2.IsSupported
        && Fma.IsSupported
        && HostLoop.TakesInPlace(rows)
        && rows.dim() == 2
        && rows.stride(1) == 1
        && Math.Min(rows.size(0), rows.size(1)) >= TileRows
        && rows.numel() >= FewestNumbers;

    /// <summary>x m.</summary>
    /// <param name="rows">x [N, I], which <see cref="Takes"/>.</param>
    /// <param name="matrix">m [I, r] of any strides, fp32.</param>
    /// <returns>[N, r].</returns>
    public static Tensor Multiply(Tensor rows, Tensor matrix)
    {
        long count = rows.size(0),
            size = rows.size(1),
            columns = matrix.size(1),
            stride = rows.stride(0);
        var output = empty([count, columns], ScalarType.Float32);
        using var panel = Lay(matrix);
        float* x = (float*)NativeTensor.GetAddress(rows),
            m = (float*)NativeTensor.GetPointer(panel),
            y = (float*)NativeTensor.GetPointer(output);
        var tiles = (count + TileRows - 1) / TileRows;
        HostLoop.ForRows(tiles, size * TileRows, (first, some) =>
        {
            var tile = stackalloc float[TileRows * Width];
            for (var at = first; at < first + some; at++)
            {
                // The last tile begins where it ends with the last row.
                var row = Math.Min(at * TileRows, count - TileRows);
                TileProduct.Multiply<Lanes256, Vector256<float>>(x + row * stride, stride, 1, m, size, tile, Width, adds: false);
                for (var i = at * TileRows - row; i < TileRows; i++)
                    new Span<float>(tile + i * Width, (int)columns).CopyTo(new(y + (row + i) * columns, (int)columns));
            }
        });
        GC.KeepAlive(rows);
        return output;
    }

    /// <summary>target += scale xᵀ m.</summary>
    /// <param name="target">[I, r] of any strides, fp32.</param>
    /// <param name="rows">x [N, I], which <see cref="Takes"/>.</param>
    /// <param name="matrix">m [N, r] of any strides, fp32.</param>
    /// <param name="scale">The factor.</param>
    public static void AddTransposed(Tensor target, Tensor rows, Tensor matrix, double scale)
    {
        using var scope = NewDisposeScope();
        long count = rows.size(0),
            size = rows.size(1),
            stride = rows.stride(0);
        var perSum = Math.Max(PerSum, (count + MostSums - 1) / MostSums);
        var (sumCount, blocks) = ((count + perSum - 1) / perSum, (size + CachedColumns - 1) / CachedColumns);
        var (panel, sums) = (Lay(matrix), empty([sumCount, size, Width], ScalarType.Float32));
        float* x = (float*)NativeTensor.GetAddress(rows),
            m = (float*)NativeTensor.GetPointer(panel),
            sumsAt = (float*)NativeTensor.GetPointer(sums);
        HostLoop.ForRows(sumCount * blocks, perSum * Math.Min(size, CachedColumns), (first, some) =>
        {
            for (var task = first; task < first + some; task++)
            {
                var (sum, column) = (task / blocks, task % blocks * CachedColumns);
                AddBlock(
                    x + column,
                    stride,
                    m,
                    (sum * perSum, Math.Min(count, (sum + 1) * perSum)),
                    sumsAt + (sum * size + column) * Width,
                    Math.Min(CachedColumns, size - column),
                    // The last tile of a narrow block begins before the block.
                    column
                );
            }
        });
        GC.KeepAlive(rows);
        target.add_(sums.sum(0, type: ScalarType.Float32).narrow(1, 0, target.size(1)), Scalars.Of(scale));
    }

    // Writes the sums of some rows for some columns.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddBlock(float* x, long stride, float* m, (long First, long End) rows, float* sums, long columns, long before)
    {
        new Span<float>(sums, (int)(columns * Width)).Clear();
        var rest = stackalloc float[TileRows * Width];
        for (var row = rows.First; row < rows.End; row += CachedRows)
        {
            var steps = Math.Min(CachedRows, rows.End - row);
            float* at = x + row * stride,
                panel = m + row * Width;
            var column = 0L;
            for (; column + TileRows <= columns; column += TileRows)
                TileProduct.Multiply<Lanes256, Vector256<float>>(
                    at + column,
                    1,
                    stride,
                    panel,
                    steps,
                    sums + column * Width,
                    Width,
                    adds: true
                );
            if (column == columns)
                continue;
            var start = Math.Max(columns - TileRows, -before);
            TileProduct.Multiply<Lanes256, Vector256<float>>(at + start, 1, stride, panel, steps, rest, Width, adds: false);
            for (; column < columns; column++)
            {
                for (var i = 0; i < Width; i++)
                    sums[column * Width + i] += rest[(column - start) * Width + i];
            }
        }
    }

    // [n, r] -> [n, 16], with zeros.
    private static Tensor Lay(Tensor matrix)
    {
        var panel = zeros([matrix.size(0), Width], ScalarType.Float32);
        using var used = panel.narrow(1, 0, matrix.size(1));
        used.copy_(matrix);
        return panel;
    }
}
