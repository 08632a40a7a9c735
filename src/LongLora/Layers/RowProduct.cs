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
    public const int MostRows = 4;

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

    /// <summary>Whether rows are multiplied here: few, in fp32, on the CPU, outside autograd.</summary>
    public static bool Takes(Tensor rows) =>
        rows.device_type == DeviceType.CPU
        && rows.dim() == 2
        && rows.size(0) is > 0 and <= MostRows
        && rows.dtype == ScalarType.Float32
        && !is_grad_enabled();

    /// <summary>The product with a dense matrix in fp32, bf16 or fp16; null if it cannot be read in place.</summary>
    /// <param name="rows">x [N, I], as <see cref="Takes"/> says.</param>
    /// <param name="matrix">W [O, I].</param>
    /// <returns>[N, O].</returns>
    public static Tensor? Multiply(Tensor rows, Tensor matrix)
    {
        if (matrix.device_type != DeviceType.CPU || !matrix.is_contiguous())
            return null;
        return matrix.dtype switch
        {
            ScalarType.Float32 => Multiply<StoredNumbers.Fp32, float>(rows, matrix),
            ScalarType.BFloat16 => Multiply<StoredNumbers.Bf16, ushort>(rows, matrix),
            ScalarType.Float16 => Multiply<StoredNumbers.Fp16, ushort>(rows, matrix),
            _ => null,
        };
    }

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
            var row = (s_row ??= new()).Get(shape[1]);
            for (var i = 0L; i < count; i++)
            {
                read(first + i, row);
                Dots<StoredNumbers.Fp32, float>(row, x, shape, y + i, outputs);
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

    /// <summary>One row times a matrix in fp32, bf16 or fp16; false for another type.</summary>
    /// <param name="x">[I].</param>
    /// <param name="type">The type of the matrix.</param>
    /// <param name="matrix">W [O, I].</param>
    /// <param name="inputs">I.</param>
    /// <param name="y">[O].</param>
    /// <param name="outputs">O.</param>
    public static bool TryRun(float* x, ScalarType type, nint matrix, long inputs, float* y, long outputs)
    {
        switch (type)
        {
            case ScalarType.Float32:
                Run<StoredNumbers.Fp32, float>(x, (float*)matrix, inputs, y, outputs);
                return true;
            case ScalarType.BFloat16:
                Run<StoredNumbers.Bf16, ushort>(x, (ushort*)matrix, inputs, y, outputs);
                return true;
            case ScalarType.Float16:
                Run<StoredNumbers.Fp16, ushort>(x, (ushort*)matrix, inputs, y, outputs);
                return true;
            default:
                return false;
        }
    }

    private static void Run<TStored, T>(float* x, T* matrix, long inputs, float* y, long outputs)
        where TStored : IStoredNumber<T>
        where T : unmanaged => Run(x, inputs, y, outputs, (first, count, row, result) =>
        {
            for (var i = 0L; i < count; i++)
                result[i] = StoredNumbers.Dot<TStored, T>(matrix + (first + i) * inputs, row, inputs);
        });

    private static Tensor Multiply<TStored, T>(Tensor rows, Tensor matrix)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var (shape, outputs, address) = (rows.shape, matrix.size(0), NativeTensor.GetPointer(matrix));
        return Multiply(rows, outputs, (first, count, x, y) =>
        {
            for (var i = 0L; i < count; i++)
                Dots<TStored, T>((T*)address + (first + i) * shape[1], x, shape, y + i, outputs);
        });
    }

    [ThreadStatic]
    private static PinnedBuffer? s_row;

    private static void Dots<TStored, T>(T* weights, float* x, long[] shape, float* y, long stride)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        for (var n = 0L; n < shape[0]; n++)
            y[n * stride] = StoredNumbers.Dot<TStored, T>(weights, x + n * shape[1], shape[1]);
    }
}
