using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace LongLora.Runtime;

// N rows, I inner size, O columns

/// <summary>
/// Products of matrices in fp32 with AVX-512, for processors on which MKL does not use it. Blocks of b are cut into panels that fit into a
/// first-level cache, and several threads multiply some rows of a by them (Goto and van de Geijn, 2008). What is computed for a row depends
/// neither on other rows nor on the number of threads.
/// </summary>
internal static unsafe class BlockProduct
{
    // A panel of b, [InnerBlock, 32], takes 32 KiB; rows of a for one thread, [RowBlock, InnerBlock], 192 KiB.
    private const int InnerBlock = 256,
        RowBlock = 32 * TileProduct.Rows;

    // All panels of a block take 2 MiB.
    private const int ColumnBlock = 2048;

    // Below these another way is faster. The number of rows does not decide: a row would depend on it.
    private const long FewestColumns = 16,
        FewestNumbers = 4 << 10;

    [ThreadStatic]
    private static PinnedBuffer? s_rows,
        s_panels;

    private static int Width => TileProduct.Vectors * Vector512<float>.Count;

    /// <summary>Whether a product of fp32 matrices on the CPU, outside autograd, is computed here.</summary>
    public static bool Takes(Tensor a, Tensor b) =>
        Processor.IsFasterThanMkl
        && HostLoop.TakesInPlace(a)
        && HostLoop.TakesInPlace(b)
        && IsLaidOut(a)
        && IsLaidOut(b)
        && b.size(1) >= FewestColumns
        && b.numel() >= FewestNumbers;

    /// <summary>Whether results can be written into a matrix.</summary>
    public static bool Fits(Tensor result) => HostLoop.TakesInPlace(result) && result.stride(1) == 1;

    /// <summary>a b.</summary>
    /// <param name="a">[N, I], which with b <see cref="Takes"/>.</param>
    /// <param name="b">[I, O].</param>
    /// <returns>[N, O].</returns>
    public static Tensor Multiply(Tensor a, Tensor b)
    {
        var result = empty([a.size(0), b.size(1)], ScalarType.Float32);
        MultiplyInto(result, a, b);
        return result;
    }

    /// <summary>Writes a b into a matrix, or adds scale a b to it.</summary>
    /// <param name="result">[N, O], whose rows' numbers follow each other.</param>
    /// <param name="a">[N, I], which with b <see cref="Takes"/>.</param>
    /// <param name="b">[I, O].</param>
    /// <param name="scale">The factor.</param>
    /// <param name="adds">Whether to add.</param>
    public static void MultiplyInto(Tensor result, Tensor a, Tensor b, float scale = 1, bool adds = false)
    {
        var (rows, inner, columns) = (a.size(0), a.size(1), b.size(1));
        var (left, right, output) = (new Matrix(a), new Matrix(b), new Matrix(result));
        // Equal blocks, whose size depends on the inner size alone: it decides the order of sums.
        var innerBlocks = (inner + InnerBlock - 1) / InnerBlock;
        var depth = (int)((inner + innerBlocks - 1) / innerBlocks);
        var panels = (nint)(s_panels ??= new()).Get((long)depth * Math.Min(ColumnBlock, (columns + Width - 1) / Width * Width));
        for (var firstColumn = 0L; firstColumn < columns; firstColumn += ColumnBlock)
        {
            var width = (int)Math.Min(ColumnBlock, columns - firstColumn);
            for (var first = 0L; first < inner; first += depth)
            {
                var (steps, isFirst) = ((int)Math.Min(depth, inner - first), first == 0 && !adds);
                var (start, at) = (firstColumn, first);
                HostLoop.ForRows((width + Width - 1) / Width, (long)Width * steps, (panel, count) =>
                    right.Cut(
                        at,
                        steps,
                        start + panel * Width,
                        (int)Math.Min(count * Width, width - panel * Width),
                        scale,
                        (float*)panels + panel * Width * steps
                    )
                );
                var rowBlock = CountRows(rows);
                ThreadTeam.RunInOrder((rows + rowBlock - 1) / rowBlock, get_num_threads(), block =>
                    MultiplyRows(
                        left,
                        (float*)panels,
                        output,
                        (block * rowBlock, Math.Min(rows, (block + 1) * rowBlock)),
                        at,
                        steps,
                        start,
                        width,
                        !isFirst
                    )
                );
            }
        }
        GC.KeepAlive(result);
        GC.KeepAlive(a);
        GC.KeepAlive(b);
    }

    // Rows of a task: several tasks for each thread.
    private static long CountRows(long rows)
    {
        var least = rows / (4L * get_num_threads());
        return Math.Clamp(least / TileProduct.Rows * TileProduct.Rows, 4 * TileProduct.Rows, RowBlock);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyRows(
        Matrix a,
        float* panels,
        Matrix c,
        (long First, long End) rows,
        long at,
        int steps,
        long firstColumn,
        int columns,
        bool adds
    )
    {
        var tile = stackalloc float[TileProduct.Rows * 2 * Vector512<float>.Count];
        var count = (int)(rows.End - rows.First);
        var padded = (count + TileProduct.Rows - 1) / TileProduct.Rows * TileProduct.Rows;
        float* left = a.Rows(rows.First, at);
        var stride = a.RowStride;
        if (!a.HasRows || padded != count)
        {
            // Rows that follow each other, with zeros behind the last.
            stride = (steps + 7) / 8 * 8;
            left = (s_rows ??= new()).Get(padded * stride);
            a.CopyRows(rows.First, count, at, steps, left, stride);
            new Span<float>(left + count * stride, (int)((padded - count) * stride)).Clear();
        }
        for (var column = 0; column < columns; column += Width, panels += (long)Width * steps)
        {
            var isWhole = column + Width <= columns;
            for (var row = 0; row < padded; row += TileProduct.Rows)
            {
                var to = c.Rows(rows.First + row, firstColumn + column);
                if (isWhole && row + TileProduct.Rows <= count)
                {
                    TileProduct.Multiply<Lanes512, Vector512<float>>(left + row * stride, stride, 1, panels, steps, to, c.RowStride, adds);
                    continue;
                }
                TileProduct.Multiply<Lanes512, Vector512<float>>(left + row * stride, stride, 1, panels, steps, tile, Width, adds: false);
                var used = Math.Min(Width, columns - column);
                for (var i = 0; i < Math.Min(TileProduct.Rows, count - row); i++, to += c.RowStride)
                {
                    for (var j = 0; j < used; j++)
                        to[j] = adds ? to[j] + tile[i * Width + j] : tile[i * Width + j];
                }
            }
        }
    }

    private static bool IsLaidOut(Tensor matrix) => matrix.dim() == 2 && (matrix.stride(0) == 1 || matrix.stride(1) == 1);

    // A matrix in memory, by rows or by columns.
    private readonly struct Matrix(Tensor matrix)
    {
        private readonly float* _first = (float*)NativeTensor.GetAddress(matrix);
        private readonly long _row = matrix.stride(0),
            _column = matrix.stride(1);

        public bool HasRows => _column == 1;

        public long RowStride => _row;

        public float* Rows(long row, long column) => _first + row * _row + column * _column;

        // Rows at some distance, a multiple of 8.
        public void CopyRows(long row, int count, long column, int steps, float* to, long distance)
        {
            if (!HasRows)
                TilePanels.TransposeIntoPanels(Rows(row, column), _column, steps, count, (int)distance, 1, to);
            else
            {
                for (var i = 0; i < count; i++)
                    new ReadOnlySpan<float>(Rows(row + i, column), steps).CopyTo(new(to + i * distance, steps));
            }
        }

        // Rows first to first + steps and some columns, as panels of a tile's columns.
        public void Cut(long first, int steps, long column, int columns, float scale, float* panels)
        {
            if (HasRows)
                TilePanels.CutIntoPanels(Rows(first, column), _row, steps, columns, Width, steps, scale, panels);
            else
                TilePanels.TransposeIntoPanels(Rows(first, column), _column, columns, steps, Width, scale, panels);
        }
    }
}
