using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

// N rows, I inputs, O outputs

/// <summary>
/// y = x Wᵀ for a few rows on the CPU, as in decoding. Such a product takes as long as reading the matrix, so each row of it is read
/// once, in the type that it is stored in, by all threads, and serves all rows of x.
/// </summary>
internal static unsafe class RowProduct
{
    /// <summary>With more rows libtorch's product of matrices is faster.</summary>
    public const int MostRows = 32;

    // About 10 µs of reading.
    private const long ElementsPerThread = 32 << 10;

    /// <summary>Writes one row [I] of a matrix in fp32.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="target">I numbers.</param>
    public delegate void RowReader(long row, float* target);

    /// <summary>Computes some outputs of all rows.</summary>
    /// <param name="first">The first output.</param>
    /// <param name="count">How many.</param>
    /// <param name="x">[N, I].</param>
    /// <param name="y">Where the first row's first of these outputs goes; the next row's is O numbers on.</param>
    public delegate void OutputWriter(long first, long count, float* x, float* y);

    [ThreadStatic]
    private static int s_pauses;

    /// <summary>
    /// Leaves products on this thread to libtorch, however few their rows, until it is disposed. A training step needs it: a product comes
    /// again under autograd there, and a text may be divided among ranks, and the bits must be the same in all of them.
    /// </summary>
    public static Pause Stop()
    {
        s_pauses++;
        return default;
    }

    /// <summary>Ends what <see cref="Stop"/> began.</summary>
    public readonly struct Pause : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => s_pauses--;
    }

    /// <summary>Whether rows are multiplied here: few, in fp32, on the CPU, outside autograd and training.</summary>
    public static bool Takes(Tensor rows) =>
        rows.device_type == DeviceType.CPU
        && rows.dim() == 2
        && rows.size(0) is > 0 and <= MostRows
        && rows.dtype == ScalarType.Float32
        && !is_grad_enabled()
        && s_pauses == 0;

    /// <summary>The product with a dense matrix in fp32, bf16 or fp16; null if it cannot be read in place.</summary>
    /// <param name="rows">x [N, I], as <see cref="Takes"/> says.</param>
    /// <param name="matrix">W [O, I].</param>
    /// <returns>[N, O].</returns>
    public static Tensor? Multiply(Tensor rows, Tensor matrix)
    {
        if (matrix.device_type != DeviceType.CPU || !matrix.is_contiguous())
            return null;
        var outputs = matrix.size(0);
        return FindWriter(matrix.dtype, NativeTensor.GetPointer(matrix), rows.shape, outputs) is { } write
            ? Multiply(rows, outputs, write)
            : null;
    }

    /// <summary>Computes outputs of rows with a matrix in fp32, bf16 or fp16; null for another type.</summary>
    /// <param name="type">The type of the matrix.</param>
    /// <param name="matrix">W [O, I].</param>
    /// <param name="shape">N, I.</param>
    /// <param name="outputs">O.</param>
    public static OutputWriter? FindWriter(ScalarType type, nint matrix, long[] shape, long outputs) =>
        type switch
        {
            ScalarType.Float32 => MakeWriter<StoredNumbers.Fp32, float>(matrix, shape, outputs),
            ScalarType.BFloat16 => MakeWriter<StoredNumbers.Bf16, ushort>(matrix, shape, outputs),
            ScalarType.Float16 => MakeWriter<StoredNumbers.Fp16, ushort>(matrix, shape, outputs),
            _ => null,
        };

    /// <summary>The product with a matrix whose rows are made in fp32 when their turn comes.</summary>
    /// <param name="rows">x [N, I], as <see cref="Takes"/> says.</param>
    /// <param name="outputs">O.</param>
    /// <param name="read">Gives one row of W; called on several threads at once.</param>
    /// <returns>[N, O].</returns>
    public static Tensor Multiply(Tensor rows, long outputs, RowReader read)
    {
        return Multiply(rows, outputs, MakeWriter(rows.shape, outputs, read));
    }

    /// <summary>Computes outputs of rows with a matrix whose rows are made in fp32 when their turn comes.</summary>
    /// <param name="shape">N, I.</param>
    /// <param name="outputs">O.</param>
    /// <param name="read">Gives one row of W; called on several threads at once.</param>
    public static OutputWriter MakeWriter(long[] shape, long outputs, RowReader read) =>
        (first, count, x, y) =>
        {
            var pair = (s_rows ??= new()).Get(2 * shape[1]);
            for (var i = 0L; i < count; i += 2)
            {
                var taken = Math.Min(2, count - i);
                for (var row = 0L; row < taken; row++)
                    read(first + i + row, pair + row * shape[1]);
                RowDots.Multiply<StoredNumbers.Fp32, float>(pair, taken, x, shape, y + i, outputs);
            }
        };

    /// <summary>The product, whose outputs are computed in pieces.</summary>
    /// <param name="rows">x [N, I], as <see cref="Takes"/> says.</param>
    /// <param name="outputs">O.</param>
    /// <param name="write">Computes some outputs of all rows; called on several threads at once.</param>
    /// <returns>[N, O].</returns>
    public static Tensor Multiply(Tensor rows, long outputs, OutputWriter write)
    {
        using var copy = rows.is_contiguous() ? null : rows.contiguous();
        var used = copy ?? rows;
        var result = empty([used.size(0), outputs], ScalarType.Float32);
        float* x = (float*)NativeTensor.GetPointer(used),
            y = (float*)NativeTensor.GetPointer(result);
        Run(x, used.size(1), y, outputs, write);
        return result;
    }

    /// <summary>The same between numbers in memory.</summary>
    /// <param name="x">[N, I].</param>
    /// <param name="inputs">I.</param>
    /// <param name="y">[N, O].</param>
    /// <param name="outputs">O.</param>
    /// <param name="write">Computes some outputs of all rows; called on several threads at once.</param>
    public static void Run(float* x, long inputs, float* y, long outputs, OutputWriter write) =>
        ThreadTeam.Run(outputs, Math.Max(1, ElementsPerThread / inputs), (first, count) => write(first, count, x, y + first));

    /// <summary>
    /// Products of one row with several matrices at once, so that threads begin and wait for each other once for all of them.
    /// </summary>
    /// <param name="x">[I].</param>
    /// <param name="inputs">I.</param>
    /// <param name="parts">For each matrix: O, what computes its outputs, and where they go.</param>
    public static void Run(float* x, long inputs, (long Outputs, OutputWriter Write, nint Result)[] parts) =>
        ThreadTeam.Run(parts.Sum(p => p.Outputs), Math.Max(1, ElementsPerThread / inputs), (first, count) =>
        {
            foreach (var (outputs, write, result) in parts)
            {
                var (start, end) = (Math.Max(0, first), Math.Min(outputs, first + count));
                if (start < end)
                    write(start, end - start, x, (float*)result + start);
                first -= outputs;
            }
        });

    /// <summary>What computes the same outputs of one row and adds a bias to them.</summary>
    /// <param name="write">Computes outputs.</param>
    /// <param name="bias">[O], contiguous, on the CPU, in fp32, bf16 or fp16.</param>
    public static OutputWriter AddBias(OutputWriter write, Tensor bias)
    {
        var (type, address) = (bias.dtype, NativeTensor.GetAddress(bias));
        return (first, count, x, y) =>
        {
            write(first, count, x, y);
            var copy = type == ScalarType.Float32 ? null : (s_rows ??= new()).Get(count);
            var added = StoredNumbers.Read(type, address + (nint)(first * type.ElementSize()), count, 1, copy);
            for (var i = 0L; i < count; i++)
                y[i] += added[i];
            GC.KeepAlive(bias);
        };
    }

    private static OutputWriter MakeWriter<TStored, T>(nint matrix, long[] shape, long outputs)
        where TStored : IStoredNumber<T>
        where T : unmanaged =>
        (first, count, x, y) => RowDots.Multiply<TStored, T>((T*)matrix + first * shape[1], count, x, shape, y, outputs);

    [ThreadStatic]
    private static PinnedBuffer? s_rows;
}
