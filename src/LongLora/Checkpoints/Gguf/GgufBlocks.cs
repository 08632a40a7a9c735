using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace LongLora.Checkpoints;

/// <summary>
/// Decodes blocks to fp32. Products and sums are rounded one after the other as in ggml's reference code, never fused, so every machine
/// gives the same bits.
/// </summary>
internal static class GgufBlocks
{
    // The sixteen 4-bit floats, twice their value; the scale is halved instead.
    private static readonly Vector128<sbyte> s_e2m1 = Vector128.Create(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

    // One bit of each of eight lanes, twice.
    private static readonly Vector128<byte> s_bits = Vector128.Create((byte)1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);

    private delegate void Decoder(ReadOnlySpan<byte> block, Span<float> target);

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
        var (size, bytes, decode) = (GgufFormat.BlockSize(type), GgufFormat.BlockBytes(type), Of(type));
        for (var block = 0; block * bytes < blocks.Length; block++)
            decode(blocks.Slice(block * bytes, bytes), target.Slice(block * size, size));
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

    private static Decoder Of(GgufType type) =>
        type switch
        {
            GgufType.Q4_0 => Q4_0,
            GgufType.Q4_1 => Q4_1,
            GgufType.Q5_0 => Q5_0,
            GgufType.Q5_1 => Q5_1,
            GgufType.Q8_0 => Q8_0,
            GgufType.Q2_K => Q2_K,
            GgufType.Q3_K => Q3_K,
            GgufType.Q4_K => Q4_K,
            GgufType.Q5_K => Q5_K,
            GgufType.Q6_K => Q6_K,
            GgufType.Mxfp4 => Mxfp4,
            _ => throw new Runtime.ShapeException($"GGUF type {type} is not a block type."),
        };

    // In types of 32, the low halves of 16 bytes are the first 16 numbers, the high halves the others.
    private static void Q4_0(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, (low, high)) = (Half(block, 0), Nibbles(block, 2));
        Write(low.AsSByte() - Vector128.Create((sbyte)8), scale, target);
        Write(high.AsSByte() - Vector128.Create((sbyte)8), scale, target[16..]);
    }

    private static void Q4_1(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, minimum, (low, high)) = (Half(block, 0), Half(block, 2), Nibbles(block, 4));
        Write(low.AsSByte(), scale, minimum, target);
        Write(high.AsSByte(), scale, minimum, target[16..]);
    }

    private static void Q5_0(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, (low, high)) = (Half(block, 0), Nibbles(block, 6));
        Write((low | Fifth(block, 2)).AsSByte() - Vector128.Create((sbyte)16), scale, target);
        Write((high | Fifth(block, 4)).AsSByte() - Vector128.Create((sbyte)16), scale, target[16..]);
    }

    private static void Q5_1(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, minimum, (low, high)) = (Half(block, 0), Half(block, 2), Nibbles(block, 8));
        Write((low | Fifth(block, 4)).AsSByte(), scale, minimum, target);
        Write((high | Fifth(block, 6)).AsSByte(), scale, minimum, target[16..]);
    }

    private static void Q8_0(ReadOnlySpan<byte> block, Span<float> target)
    {
        var scale = Half(block, 0);
        Write(Load(block, 2).AsSByte(), scale, target);
        Write(Load(block, 18).AsSByte(), scale, target[16..]);
    }

    private static void Mxfp4(ReadOnlySpan<byte> block, Span<float> target)
    {
        // 2^(e - 127), halved; the two smallest are subnormal.
        var scale = BitConverter.UInt32BitsToSingle(block[0] < 2 ? 0x0020_0000u << block[0] : (uint)(block[0] - 1) << 23);
        var (low, high) = Nibbles(block, 1);
        Write(Vector128.Shuffle(s_e2m1, low.AsSByte()), scale, target);
        Write(Vector128.Shuffle(s_e2m1, high.AsSByte()), scale, target[16..]);
    }

    // 16 scales and minima, 4 bits each; 2 bits per number, of four parts of 32 in the same bytes; then the scales of both.
    private static void Q2_K(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, minimum) = (Half(block, 80), Half(block, 82));
        for (var part = 0; part < 16; part++)
        {
            // Two parts of 16 lie side by side, then the next two bits of the same 32 bytes come, then the next 32 bytes.
            var codes = (Load(block, 16 + part / 8 * 32 + part % 2 * 16) >>> (part % 8 / 2 * 2)) & Vector128.Create((byte)3);
            Write(codes.AsSByte(), scale * (block[part] & 15), -(minimum * (block[part] >> 4)), target[(part * 16)..]);
        }
    }

    // The third bit of each number, 2 bits each as in Q2_K, 16 scales of 6 bits less 32, then the scale of these.
    private static void Q3_K(ReadOnlySpan<byte> block, Span<float> target)
    {
        var scale = Half(block, 108);
        for (var part = 0; part < 16; part++)
        {
            var codes = (Load(block, 32 + part / 8 * 32 + part % 2 * 16) >>> (part % 8 / 2 * 2)) & Vector128.Create((byte)3);
            var third = (Load(block, part % 2 * 16) >>> (part / 2)) & Vector128.Create((byte)1);
            var low = block[96 + part % 8] >> (part / 8 * 4) & 15;
            var high = block[104 + part % 4] >> (part / 4 * 2) & 3;
            Write((codes | third << 2).AsSByte() - Vector128.Create((sbyte)4), scale * ((low | high << 4) - 32), target[(part * 16)..]);
        }
    }

    private static void Q4_K(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, minimum) = (Half(block, 0), Half(block, 2));
        for (var part = 0; part < 8; part++)
        {
            // Two parts share 32 bytes, the even one in the low halves.
            var (own, least) = ScaleAndMinimum(block[4..16], part);
            for (var half = 0; half < 2; half++)
            {
                var codes = Load(block, 16 + part / 2 * 32 + half * 16);
                codes = part % 2 == 0 ? codes & Vector128.Create((byte)15) : codes >>> 4;
                Write(codes.AsSByte(), scale * own, -(minimum * least), target[(part * 32 + half * 16)..]);
            }
        }
    }

    private static void Q5_K(ReadOnlySpan<byte> block, Span<float> target)
    {
        var (scale, minimum) = (Half(block, 0), Half(block, 2));
        for (var part = 0; part < 8; part++)
        {
            var (own, least) = ScaleAndMinimum(block[4..16], part);
            for (var half = 0; half < 2; half++)
            {
                var codes = Load(block, 48 + part / 2 * 32 + half * 16);
                codes = part % 2 == 0 ? codes & Vector128.Create((byte)15) : codes >>> 4;
                var fifth = (Load(block, 16 + half * 16) >>> part) & Vector128.Create((byte)1);
                Write((codes | fifth << 4).AsSByte(), scale * own, -(minimum * least), target[(part * 32 + half * 16)..]);
            }
        }
    }

    // 128 bytes of low halves, 64 bytes of upper pairs, 16 scales, then the scale of these.
    private static void Q6_K(ReadOnlySpan<byte> block, Span<float> target)
    {
        var scale = Half(block, 208);
        for (var part = 0; part < 16; part++)
        {
            // In each half of the block, four parts of 32 numbers: 64 bytes of low halves, twice, and 32 bytes with four pairs each.
            var (upper, quarter, half) = (part / 8, part % 8 / 2, part % 2);
            var low = Load(block, upper * 64 + quarter % 2 * 32 + half * 16);
            low = quarter < 2 ? low & Vector128.Create((byte)15) : low >>> 4;
            var high = (Load(block, 128 + upper * 32 + half * 16) >>> (quarter * 2)) & Vector128.Create((byte)3);
            Write((low | high << 4).AsSByte() - Vector128.Create((sbyte)32), scale * (sbyte)block[192 + part], target[(part * 16)..]);
        }
    }

    /// <summary>Scale and minimum of one of the eight parts of a Q4_K or Q5_K block: 6 bits each, in 12 bytes.</summary>
    public static (int Scale, int Minimum) ScaleAndMinimum(ReadOnlySpan<byte> packed, int part) =>
        part < 4
            ? (packed[part] & 63, packed[part + 4] & 63)
            : (packed[part + 4] & 15 | packed[part - 4] >> 6 << 4, packed[part + 4] >> 4 | packed[part] >> 6 << 4);

    private static float Half(ReadOnlySpan<byte> block, int at) => (float)BinaryPrimitives.ReadHalfLittleEndian(block[at..]);

    private static Vector128<byte> Load(ReadOnlySpan<byte> block, int at) => Vector128.Create(block.Slice(at, 16));

    private static (Vector128<byte> Low, Vector128<byte> High) Nibbles(ReadOnlySpan<byte> block, int at)
    {
        var bytes = Load(block, at);
        return (bytes & Vector128.Create((byte)15), bytes >>> 4);
    }

    // 16 where the bit of a number is set.
    private static Vector128<byte> Fifth(ReadOnlySpan<byte> block, int at)
    {
        var spread = Vector128.Create(Vector64.Create(block[at]), Vector64.Create(block[at + 1]));
        return Vector128.Equals(spread & s_bits, s_bits) & Vector128.Create((byte)16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(Vector128<sbyte> codes, float scale, Span<float> target)
    {
        var (low, high) = Vector128.Widen(codes);
        var factor = Vector128.Create(scale);
        Store(factor * Floats(Vector128.WidenLower(low)), target, 0);
        Store(factor * Floats(Vector128.WidenUpper(low)), target, 4);
        Store(factor * Floats(Vector128.WidenLower(high)), target, 8);
        Store(factor * Floats(Vector128.WidenUpper(high)), target, 12);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(Vector128<sbyte> codes, float scale, float shift, Span<float> target)
    {
        var (low, high) = Vector128.Widen(codes);
        var (factor, add) = (Vector128.Create(scale), Vector128.Create(shift));
        Store(factor * Floats(Vector128.WidenLower(low)) + add, target, 0);
        Store(factor * Floats(Vector128.WidenUpper(low)) + add, target, 4);
        Store(factor * Floats(Vector128.WidenLower(high)) + add, target, 8);
        Store(factor * Floats(Vector128.WidenUpper(high)) + add, target, 12);
    }

    private static Vector128<float> Floats(Vector128<int> numbers) => Vector128.ConvertToSingle(numbers);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector128<float> numbers, Span<float> target, int at) => numbers.CopyTo(target.Slice(at, 4));
}
