using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LongLora.Checkpoints;

/// <summary>
/// Decodes blocks to fp32. Products and sums are rounded one after the other as in ggml's reference code, never fused, so every machine
/// gives the same bits.
/// </summary>
internal static unsafe class GgufBlocks
{
    /// <summary>Numbers of a part, which have the same scale.</summary>
    public const int PartSize = 16;

    /// <summary>Decodes whole blocks.</summary>
    /// <param name="type">Their type.</param>
    /// <param name="blocks">The blocks, one after the other.</param>
    /// <param name="target">Space for all their numbers.</param>
    public static void Decode(GgufType type, ReadOnlySpan<byte> blocks, Span<float> target)
    {
        switch (type)
        {
            case GgufType.F32:
                MemoryMarshal.Cast<byte, float>(blocks).CopyTo(target);
                return;
            case GgufType.F16:
                var halves = MemoryMarshal.Cast<byte, Half>(blocks);
                for (var i = 0; i < target.Length; i++)
                    target[i] = (float)halves[i];
                return;
            case GgufType.Bf16:
                var upper = MemoryMarshal.Cast<byte, ushort>(blocks);
                for (var i = 0; i < target.Length; i++)
                    target[i] = BitConverter.UInt32BitsToSingle((uint)upper[i] << 16);
                return;
        }
        fixed (byte* from = blocks)
        fixed (float* to = target)
        {
            switch (type)
            {
                case GgufType.Q4_0:
                    Decode<GgufQ4_0>(from, blocks.Length, to);
                    break;
                case GgufType.Q4_1:
                    Decode<GgufQ4_1>(from, blocks.Length, to);
                    break;
                case GgufType.Q5_0:
                    Decode<GgufQ5_0>(from, blocks.Length, to);
                    break;
                case GgufType.Q5_1:
                    Decode<GgufQ5_1>(from, blocks.Length, to);
                    break;
                case GgufType.Q8_0:
                    Decode<GgufQ8_0>(from, blocks.Length, to);
                    break;
                case GgufType.Q2_K:
                    Decode<GgufQ2_K>(from, blocks.Length, to);
                    break;
                case GgufType.Q3_K:
                    Decode<GgufQ3_K>(from, blocks.Length, to);
                    break;
                case GgufType.Q4_K:
                    Decode<GgufQ4_K>(from, blocks.Length, to);
                    break;
                case GgufType.Q5_K:
                    Decode<GgufQ5_K>(from, blocks.Length, to);
                    break;
                case GgufType.Q6_K:
                    Decode<GgufQ6_K>(from, blocks.Length, to);
                    break;
                case GgufType.Mxfp4:
                    Decode<GgufMxfp4>(from, blocks.Length, to);
                    break;
                default:
                    throw new Runtime.ShapeException($"GGUF type {type} is not a block type.");
            }
        }
    }

    /// <summary>
    /// The product of a row in blocks with numbers: the sum over parts of scale · Σ code · x + shift · Σ x. The row itself is never
    /// written, so this takes little longer than reading the blocks.
    /// </summary>
    /// <param name="type">A type with blocks.</param>
    /// <param name="blocks">The blocks of one row.</param>
    /// <param name="count">Numbers of the row.</param>
    /// <param name="x">As many numbers.</param>
    /// <param name="sums">The sum of each 16 of them; not read for types without a shift.</param>
    public static float Dot(GgufType type, byte* blocks, long count, float* x, float* sums) =>
        type switch
        {
            GgufType.Q4_0 => Dot<GgufQ4_0>(blocks, count, x, sums),
            GgufType.Q4_1 => Dot<GgufQ4_1>(blocks, count, x, sums),
            GgufType.Q5_0 => Dot<GgufQ5_0>(blocks, count, x, sums),
            GgufType.Q5_1 => Dot<GgufQ5_1>(blocks, count, x, sums),
            GgufType.Q8_0 => Dot<GgufQ8_0>(blocks, count, x, sums),
            GgufType.Q2_K => Dot<GgufQ2_K>(blocks, count, x, sums),
            GgufType.Q3_K => Dot<GgufQ3_K>(blocks, count, x, sums),
            GgufType.Q4_K => Dot<GgufQ4_K>(blocks, count, x, sums),
            GgufType.Q5_K => Dot<GgufQ5_K>(blocks, count, x, sums),
            GgufType.Q6_K => Dot<GgufQ6_K>(blocks, count, x, sums),
            GgufType.Mxfp4 => Dot<GgufMxfp4>(blocks, count, x, sums),
            _ => throw new Runtime.ShapeException($"GGUF type {type} is not a block type."),
        };

    /// <summary>Whether numbers of a type are code · scale + shift.</summary>
    public static bool HasShift(GgufType type) => type is GgufType.Q4_1 or GgufType.Q5_1 or GgufType.Q2_K or GgufType.Q4_K or GgufType.Q5_K;

    /// <summary>The sum of each 16 numbers.</summary>
    /// <param name="x">The numbers.</param>
    /// <param name="count">How many, a multiple of 16.</param>
    /// <param name="sums">A sixteenth as many.</param>
    public static void SumParts(float* x, long count, float* sums)
    {
        for (var i = 0L; i < count; i += PartSize)
            sums[i / PartSize] = Vector256.Sum(Vector256.Load(x + i) + Vector256.Load(x + i + 8));
    }

    /// <summary>
    /// The first block with an infinite or NaN scale or minimum, which would spoil all its numbers; -1 if there is none.
    /// </summary>
    public static long FirstNotFinite(GgufType type, ReadOnlySpan<byte> blocks)
    {
        var bytes = GgufFormat.BlockBytes(type);
        ReadOnlySpan<int> scales = type switch
        {
            GgufType.Q4_0 or GgufType.Q5_0 or GgufType.Q8_0 => [0],
            GgufType.Q4_1 or GgufType.Q5_1 or GgufType.Q4_K or GgufType.Q5_K => [0, 2],
            GgufType.Q2_K => [80, 82],
            GgufType.Q3_K => [108],
            GgufType.Q6_K => [208],
            _ => [],
        };
        for (var block = 0; block * bytes < blocks.Length; block++)
        {
            var one = blocks.Slice(block * bytes, bytes);
            foreach (var at in scales)
            {
                if ((BinaryPrimitives.ReadUInt16LittleEndian(one[at..]) & 0x7C00) == 0x7C00)
                    return block;
            }
            if (type == GgufType.Mxfp4 && one[0] == byte.MaxValue)
                return block;
        }
        return -1;
    }

    private static void Decode<TBlock>(byte* blocks, int bytes, float* target)
        where TBlock : struct, IGgufBlock<TBlock>
    {
        for (var end = blocks + bytes; blocks < end; blocks += TBlock.Bytes)
        {
            var block = TBlock.Open(blocks);
            for (var part = 0; part < TBlock.Parts; part++, target += PartSize)
            {
                var (first, second) = Floats(block.Read(blocks, part, out var scale, out var shift));
                (first, second) = (first * scale, second * scale);
                if (TBlock.HasShift)
                    (first, second) = (first + Vector256.Create(shift), second + Vector256.Create(shift));
                first.Store(target);
                second.Store(target + 8);
            }
        }
    }

    private static float Dot<TBlock>(byte* blocks, long count, float* x, float* sums)
        where TBlock : struct, IGgufBlock<TBlock>
    {
        // Two sums by turns, because each addition waits for the one before it.
        Vector256<float> total = default,
            other = default;
        var shifts = 0f;
        var end = x + count;
        if (TBlock.Parts == 2)
        {
            for (; x + 4 * PartSize <= end; x += 4 * PartSize, blocks += 2 * TBlock.Bytes, sums += 4)
            {
                total = AddBlock<TBlock>(blocks, x, sums, total, ref shifts);
                other = AddBlock<TBlock>(blocks + TBlock.Bytes, x + 2 * PartSize, sums + 2, other, ref shifts);
            }
            if (x < end)
                total = AddBlock<TBlock>(blocks, x, sums, total, ref shifts);
        }
        else
        {
            for (; x < end; blocks += TBlock.Bytes)
            {
                var block = TBlock.Open(blocks);
                for (var part = 0; part < TBlock.Parts; part += 2, x += 2 * PartSize, sums += 2)
                {
                    total = AddPart(block, blocks, part, x, sums, total, ref shifts);
                    other = AddPart(block, blocks, part + 1, x + PartSize, sums + 1, other, ref shifts);
                }
            }
        }
        return Vector256.Sum(total + other) + shifts;
    }

    // Both parts of a block of 32 have one scale.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AddBlock<TBlock>(byte* at, float* x, float* sums, Vector256<float> total, ref float shifts)
        where TBlock : struct, IGgufBlock<TBlock>
    {
        var block = TBlock.Open(at);
        var (first, second) = ReadFloats(block, at, 0, out var scale, out var shift);
        var (third, fourth) = ReadFloats(block, at, 1, out _, out _);
        var product = Vector256.MultiplyAddEstimate(second, Vector256.Load(x + 8), first * Vector256.Load(x));
        product = Vector256.MultiplyAddEstimate(third, Vector256.Load(x + 16), product);
        product = Vector256.MultiplyAddEstimate(fourth, Vector256.Load(x + 24), product);
        if (TBlock.HasShift)
            shifts += shift * (sums[0] + sums[1]);
        return Vector256.MultiplyAddEstimate(product, Vector256.Create(scale), total);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> AddPart<TBlock>(
        TBlock block,
        byte* at,
        int part,
        float* x,
        float* sums,
        Vector256<float> total,
        ref float shifts
    )
        where TBlock : struct, IGgufBlock<TBlock>
    {
        var (first, second) = ReadFloats(block, at, part, out var scale, out var shift);
        var product = Vector256.MultiplyAddEstimate(second, Vector256.Load(x + 8), first * Vector256.Load(x));
        if (TBlock.HasShift)
            shifts += shift * *sums;
        return Vector256.MultiplyAddEstimate(product, Vector256.Create(scale), total);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<float> First, Vector256<float> Second) ReadFloats<TBlock>(
        TBlock block,
        byte* at,
        int part,
        out float scale,
        out float shift
    )
        where TBlock : struct, IGgufBlock<TBlock>
    {
        var codes = block.Read(at, part, out scale, out shift);
        // Its codes are bytes in their order, so halves can be read from memory, which is faster than to move them.
        if (typeof(TBlock) == typeof(GgufQ8_0) && Avx2.IsSupported)
        {
            var bytes = (sbyte*)at + 2 + PartSize * part;
            return (
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(bytes)),
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(bytes + 8))
            );
        }
        return Floats(codes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<float> First, Vector256<float> Second) Floats(Vector128<sbyte> codes)
    {
        if (Avx2.IsSupported)
        {
            var upper = Sse2.ShiftRightLogical128BitLane(codes, 8);
            return (
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(codes)),
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(upper))
            );
        }
        var (low, high) = Vector128.Widen(codes);
        return (
            Vector256.ConvertToSingle(Vector256.Create(Vector128.WidenLower(low), Vector128.WidenUpper(low))),
            Vector256.ConvertToSingle(Vector256.Create(Vector128.WidenLower(high), Vector128.WidenUpper(high)))
        );
    }

    /// <summary>Scale and minimum of one of the eight parts of a Q4_K or Q5_K block: 6 bits each, in 12 bytes.</summary>
    public static (int Scale, int Minimum) ScaleAndMinimum(ReadOnlySpan<byte> packed, int part)
    {
        fixed (byte* address = packed)
            return ScaleAndMinimum(address, part);
    }

    /// <summary>The same at an address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int Scale, int Minimum) ScaleAndMinimum(byte* packed, int part) =>
        part < 4
            ? (packed[part] & 63, packed[part + 4] & 63)
            : (packed[part + 4] & 15 | packed[part - 4] >> 6 << 4, packed[part + 4] >> 4 | packed[part] >> 6 << 4);
}
