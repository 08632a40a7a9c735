using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LongLora.Quantization;

/// <summary>The instructions that the CPU kernel uses. All of them give the same bits.</summary>
internal enum Nf4KernelLevel
{
    Scalar,
    Avx2,
    Avx512,
}

/// <summary>The memory of a matrix in NF4.</summary>
/// <param name="Codes">Two weights per byte, the first in the high half.</param>
/// <param name="Scales">One byte per block, an index into the table of scales; 0 if <paramref name="PlainScales"/> are used.</param>
/// <param name="PlainScales">One number per block, without double quantization.</param>
/// <param name="NestedScales">One number per group of scales.</param>
/// <param name="Offset">Added to every scale.</param>
/// <param name="BlockShift">Base-2 logarithm of the weights in a block.</param>
/// <param name="NestedShift">Base-2 logarithm of the scales in a group.</param>
internal readonly unsafe record struct Nf4Memory(
    nint Codes,
    nint Scales,
    nint PlainScales,
    nint NestedScales,
    float Offset,
    int BlockShift,
    int NestedShift
)
{
    /// <summary>The scale of a block. It is rounded twice as in bitsandbytes, so it uses no fused multiply-add.</summary>
    /// <param name="block">Index of the block.</param>
    /// <param name="table">256 values.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float ComputeScale(long block, float* table) =>
        PlainScales != 0
            ? ((float*)PlainScales)[block]
            : table[((byte*)Scales)[block]] * ((float*)NestedScales)[block >> NestedShift] + Offset;
}

/// <summary>Dequantizes NF4 codes on the CPU: value[code] · scale of the block, in fp32.</summary>
internal static unsafe class Nf4Kernel
{
    // For smaller work one core is faster than starting a second one.
    private const long ElementsPerTask = 128 << 10;

    /// <summary>The widest instructions that this machine supports.</summary>
    public static Nf4KernelLevel Best { get; } =
        Avx512F.IsSupported ? Nf4KernelLevel.Avx512
        : Avx2.IsSupported ? Nf4KernelLevel.Avx2
        : Nf4KernelLevel.Scalar;

    /// <summary>Writes a rectangle of a matrix, row by row without gaps, on all cores.</summary>
    /// <param name="memory">The matrix.</param>
    /// <param name="values">16 values, one per code.</param>
    /// <param name="scaleValues">256 values, one per code of a scale.</param>
    /// <param name="width">Weights in a row of the whole matrix.</param>
    /// <param name="rows">First row and number of rows.</param>
    /// <param name="columns">First column and number of columns.</param>
    /// <param name="output">rows x columns numbers.</param>
    /// <param name="level">Instructions to use. The machine must support them.</param>
    public static void Dequantize(
        Nf4Memory memory,
        float[] values,
        float[] scaleValues,
        long width,
        (long Start, long Count) rows,
        (long Start, long Count) columns,
        float* output,
        Nf4KernelLevel level
    )
    {
        void Run(long first, long count)
        {
            var target = output + first * columns.Count;
            var element = (rows.Start + first) * width + columns.Start;
            if (columns.Count == width)
            {
                DequantizeRange(memory, values, scaleValues, element, count * width, target, level);
                return;
            }
            for (var row = 0L; row < count; row++)
                DequantizeRange(memory, values, scaleValues, element + row * width, columns.Count, target + row * columns.Count, level);
        }

        var tasks = (int)Math.Min(Math.Min(Environment.ProcessorCount, rows.Count), rows.Count * columns.Count / ElementsPerTask);
        if (tasks <= 1)
        {
            Run(0, rows.Count);
            return;
        }
        Parallel.For(0, tasks, task =>
        {
            long start = rows.Count * task / tasks,
                end = rows.Count * (task + 1) / tasks;
            Run(start, end - start);
        });
    }

    /// <summary>Writes consecutive weights, starting at any weight.</summary>
    public static void DequantizeRange(
        Nf4Memory memory,
        float[] values,
        float[] scaleValues,
        long first,
        long count,
        float* output,
        Nf4KernelLevel level
    )
    {
        var codes = (byte*)memory.Codes;
        var blockMask = (1L << memory.BlockShift) - 1;
        fixed (
            float* table = values,
                scales = scaleValues
        )
        {
            for (var end = first + count; first < end; )
            {
                // One block, or the requested part of it. The next block has another scale.
                var stop = Math.Min(end, (first | blockMask) + 1);
                var scale = memory.ComputeScale(first >> memory.BlockShift, scales);
                if ((first & 1) != 0)
                    *output++ = table[codes[first++ >> 1] & 15] * scale;
                var wide = (stop - first) & ~15L;
                switch (level)
                {
                    case Nf4KernelLevel.Avx512:
                        Dequantize512(codes + (first >> 1), wide, output, Vector512.Load(table) * scale);
                        break;
                    case Nf4KernelLevel.Avx2:
                        Dequantize256(codes + (first >> 1), wide, output, Vector256.Load(table) * scale, Vector256.Load(table + 8) * scale);
                        break;
                    default:
                        wide = 0;
                        break;
                }
                first += wide;
                output += wide;
                for (; first < stop; first++)
                {
                    var code = codes[first >> 1];
                    *output++ = table[(first & 1) == 0 ? code >> 4 : code & 15] * scale;
                }
            }
        }
    }

    // 16 weights at a time: 8 bytes -> 16 codes -> one permutation of the scaled table.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Dequantize512(byte* codes, long count, float* output, Vector512<float> table)
    {
        for (long i = 0; i < count; i += 16)
        {
            var indexes = Avx512F.ConvertToVector512Int32(Unpack(codes + (i >> 1)));
            Avx512F.PermuteVar16x32(table, indexes).Store(output + i);
        }
    }

    // The table has two halves of 8. Both are permuted, and bit 3 of the code selects one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Dequantize256(byte* codes, long count, float* output, Vector256<float> low, Vector256<float> high)
    {
        for (long i = 0; i < count; i += 16)
        {
            var indexes = Unpack(codes + (i >> 1));
            LookUp256(Avx2.ConvertToVector256Int32(indexes), low, high).Store(output + i);
            LookUp256(Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(indexes, 8)), low, high).Store(output + i + 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> LookUp256(Vector256<int> indexes, Vector256<float> low, Vector256<float> high) =>
        Avx.BlendVariable(
            Avx2.PermuteVar8x32(low, indexes),
            Avx2.PermuteVar8x32(high, indexes),
            Avx2.ShiftLeftLogical(indexes, 28).AsSingle()
        );

    // 8 bytes -> 16 codes in order, one per byte
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Unpack(byte* codes)
    {
        var packed = Sse2.LoadScalarVector128((ulong*)codes);
        var mask = Vector128.Create((byte)15);
        return Sse2.UnpackLow(Sse2.ShiftRightLogical(packed, 4).AsByte() & mask, packed.AsByte() & mask);
    }
}
