using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
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

    /// <summary>Computes one output of all rows.</summary>
    /// <param name="output">Its number.</param>
    /// <param name="x">[N, I].</param>
    /// <param name="y">Where the first row's output goes; the next row's is O numbers on.</param>
    public delegate void OutputWriter(long output, float* x, float* y);

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
            ScalarType.Float32 => Multiply<Fp32, float>(rows, matrix),
            ScalarType.BFloat16 => Multiply<Bf16, ushort>(rows, matrix),
            ScalarType.Float16 => Multiply<Fp16, ushort>(rows, matrix),
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
        var shape = rows.shape;
        return Multiply(rows, outputs, (long output, float* x, float* y) =>
        {
            var row = Buffer(shape[1]);
            read(output, row);
            Dots<Fp32, float>(row, x, shape, y, outputs);
        });
    }

    /// <summary>The product, output by output.</summary>
    /// <param name="rows">x [N, I], as <see cref="Takes"/> says.</param>
    /// <param name="outputs">O.</param>
    /// <param name="write">Computes one output of all rows; called on several threads at once.</param>
    /// <returns>[N, O].</returns>
    public static Tensor Multiply(Tensor rows, long outputs, OutputWriter write)
    {
        using var scope = NewDisposeScope();
        var used = rows.contiguous();
        var result = empty([used.size(0), outputs], ScalarType.Float32);
        float* x = (float*)NativeTensor.GetPointer(used),
            y = (float*)NativeTensor.GetPointer(result);
        ThreadTeam.Run(outputs, Math.Max(1, ElementsPerThread / used.size(1)), (first, size) =>
        {
            for (var output = first; output < first + size; output++)
                write(output, x, y + output);
        });
        return result.MoveToOuterDisposeScope();
    }

    private static Tensor Multiply<TStored, T>(Tensor rows, Tensor matrix)
        where TStored : IStored<T>
        where T : unmanaged
    {
        var (shape, outputs, address) = (rows.shape, matrix.size(0), NativeTensor.GetPointer(matrix));
        return Multiply(rows, outputs, (output, x, y) => Dots<TStored, T>((T*)address + output * shape[1], x, shape, y, outputs));
    }

    [ThreadStatic]
    private static float[]? s_row;

    // Pinned, so that the address stays.
    private static float* Buffer(long size)
    {
        if (s_row is null || s_row.Length < size)
            s_row = GC.AllocateUninitializedArray<float>((int)size, pinned: true);
        return (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(s_row));
    }

    private static void Dots<TStored, T>(T* weights, float* x, long[] shape, float* y, long stride)
        where TStored : IStored<T>
        where T : unmanaged
    {
        for (var n = 0L; n < shape[0]; n++)
            y[n * stride] = Dot<TStored, T>(weights, x + n * shape[1], shape[1]);
    }

    // Four sums, because each addition waits for the one before it.
    private static float Dot<TStored, T>(T* weights, float* x, long count)
        where TStored : IStored<T>
        where T : unmanaged
    {
        var width = Vector<float>.Count;
        Vector<float> first = default,
            second = default,
            third = default,
            fourth = default;
        var i = 0L;
        for (; i + 4 * width <= count; i += 4 * width)
        {
            var (a, b) = TStored.Load(weights + i);
            var (c, d) = TStored.Load(weights + i + 2 * width);
            first = Vector.MultiplyAddEstimate(a, Vector.Load(x + i), first);
            second = Vector.MultiplyAddEstimate(b, Vector.Load(x + i + width), second);
            third = Vector.MultiplyAddEstimate(c, Vector.Load(x + i + 2 * width), third);
            fourth = Vector.MultiplyAddEstimate(d, Vector.Load(x + i + 3 * width), fourth);
        }
        var sum = Vector.Sum((first + second) + (third + fourth));
        for (; i < count; i++)
            sum += TStored.Widen(weights[i]) * x[i];
        return sum;
    }

    /// <summary>A type in which matrices are stored.</summary>
    private interface IStored<T>
        where T : unmanaged
    {
        /// <summary>The next two vectors of numbers, in fp32.</summary>
        static abstract (Vector<float> First, Vector<float> Second) Load(T* at);

        /// <summary>One number.</summary>
        static abstract float Widen(T value);
    }

    private readonly struct Fp32 : IStored<float>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(float* at) =>
            (Vector.Load(at), Vector.Load(at + Vector<float>.Count));

        public static float Widen(float value) => value;
    }

    // The upper half of an fp32 number.
    private readonly struct Bf16 : IStored<ushort>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(ushort* at)
        {
            Vector.Widen(Vector.Load(at), out var first, out var second);
            return ((first << 16).As<uint, float>(), (second << 16).As<uint, float>());
        }

        public static float Widen(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);
    }

    private readonly struct Fp16 : IStored<ushort>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(ushort* at)
        {
            Vector.Widen(Vector.Load(at), out var first, out var second);
            return (Widen(first), Widen(second));
        }

        public static float Widen(ushort value) => (float)BitConverter.UInt16BitsToHalf(value);

        // The exponent moves to its place and gains 127 - 15 by a product, which is right for subnormal numbers as well. Infinity and NaN
        // have all bits of the exponent set in both types.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector<float> Widen(Vector<uint> bits)
        {
            var magnitude = (bits & new Vector<uint>(0x7FFF)) << 13;
            var number = (magnitude.As<uint, float>() * new Vector<float>(5.192296858534828e33f)).As<float, uint>();
            number |= Vector.GreaterThanOrEqual(magnitude, new Vector<uint>(0x0F80_0000)) & new Vector<uint>(0x7F80_0000);
            return (number | (bits & new Vector<uint>(0x8000)) << 16).As<uint, float>();
        }
    }
}
