using LongLora.Runtime;

namespace LongLora.Quantization;

/// <summary>Dequantizes 8-bit codes on the CPU: code · scale of the row, in fp32.</summary>
internal static unsafe class Int8Kernel
{
    // For smaller work one core is faster than starting a second one.
    private const long ElementsPerTask = 128 << 10;

    /// <summary>Writes a rectangle of a matrix, row by row without gaps, on all cores.</summary>
    /// <param name="codes">[O, I] signed bytes.</param>
    /// <param name="scales">One number per row of the rectangle.</param>
    /// <param name="width">I.</param>
    /// <param name="rows">First row and number of rows.</param>
    /// <param name="columns">First column and number of columns.</param>
    /// <param name="output">rows x columns numbers.</param>
    /// <param name="wide">Whether to use vector instructions, which give the same bits.</param>
    public static void Dequantize(
        nint codes,
        nint scales,
        long width,
        (long Start, long Count) rows,
        (long Start, long Count) columns,
        nint output,
        bool wide = true
    )
    {
        void Run(long row) =>
            StoredNumbers.Widen(
                (sbyte*)codes + (rows.Start + row) * width + columns.Start,
                ((float*)scales)[row],
                columns.Count,
                (float*)output + row * columns.Count,
                wide
            );

        var tasks = (int)Math.Min(Math.Min(Environment.ProcessorCount, rows.Count), rows.Count * columns.Count / ElementsPerTask);
        if (tasks <= 1)
        {
            for (var row = 0L; row < rows.Count; row++)
                Run(row);
            return;
        }
        Parallel.For(0, tasks, task =>
        {
            var end = rows.Count * (task + 1) / tasks;
            for (var row = rows.Count * task / tasks; row < end; row++)
                Run(row);
        });
    }
}
