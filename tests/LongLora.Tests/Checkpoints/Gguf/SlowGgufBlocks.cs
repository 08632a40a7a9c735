using LongLora.Checkpoints;

namespace LongLora.Tests.Checkpoints;

/// <summary>
/// One number of a block at a time, by its bits: number i of a block is code * scale, or code * scale + minimum. The obvious version.
/// </summary>
internal static class SlowGgufBlocks
{
    private static readonly float[] s_e2m1 = [0, 0.5f, 1, 1.5f, 2, 3, 4, 6];

    /// <summary>Where the fp16 numbers of a block stand.</summary>
    public static int[] Scales(GgufType type) =>
        type switch
        {
            GgufType.Q4_0 or GgufType.Q5_0 or GgufType.Q8_0 => [0],
            GgufType.Q4_1 or GgufType.Q5_1 or GgufType.Q4_K or GgufType.Q5_K => [0, 2],
            GgufType.Q2_K => [80, 82],
            GgufType.Q3_K => [108],
            GgufType.Q6_K => [208],
            _ => [],
        };

    /// <summary>Number <paramref name="i"/> of a block.</summary>
    public static float Number(GgufType type, ReadOnlySpan<byte> b, int i)
    {
        switch (type)
        {
            case GgufType.Q4_0:
                return (Bits(b, 16, Nibble(i), 4) - 8) * Half(b, 0);
            case GgufType.Q4_1:
                return Sum(Bits(b, 32, Nibble(i), 4) * Half(b, 0), Half(b, 2));
            case GgufType.Q5_0:
                return (Bits(b, 48, Nibble(i), 4) + 16 * Bits(b, 16, i, 1) - 16) * Half(b, 0);
            case GgufType.Q5_1:
                return Sum((Bits(b, 64, Nibble(i), 4) + 16 * Bits(b, 32, i, 1)) * Half(b, 0), Half(b, 2));
            case GgufType.Q8_0:
                return (sbyte)b[2 + i] * Half(b, 0);
            case GgufType.Mxfp4:
                var code = Bits(b, 8, Nibble(i), 4);
                return (float)(s_e2m1[code % 8] * (code < 8 ? 1 : -1) * Math.Pow(2, b[0] - 127));
            case GgufType.Q2_K:
                return Sum(Half(b, 80) * (b[i / 16] % 16) * Two(b[16..], i), -(Half(b, 82) * (b[i / 16] / 16)));
            case GgufType.Q3_K:
                var third = b[i % 32] >> (i / 32) & 1;
                return Half(b, 108) * (Scale3(b.Slice(96, 12), i / 16) - 32) * (Two(b[32..], i) + 4 * third - 4);
            case GgufType.Q4_K:
                var four = b[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
                return Sum(Half(b, 0) * Six(b.Slice(4, 12), i / 32) * four, -(Half(b, 2) * Six(b.Slice(4, 12), 8 + i / 32)));
            case GgufType.Q5_K:
                var five = (b[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) + 16 * (b[16 + i % 32] >> (i / 32) & 1);
                return Sum(Half(b, 0) * Six(b.Slice(4, 12), i / 32) * five, -(Half(b, 2) * Six(b.Slice(4, 12), 8 + i / 32)));
            case GgufType.Q6_K:
                var low = b[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
                var high = b[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
                return Half(b, 208) * (sbyte)b[192 + i / 16] * (low + 16 * high - 32);
            default:
                throw new ArgumentOutOfRangeException(nameof(type));
        }
    }

    // The low halves of 16 bytes come first.
    private static int Nibble(int i) => i < 16 ? 8 * i : 8 * (i - 16) + 4;

    // In types of 32: bits from a bit on, the index times one bit where they are single.
    private static int Bits(ReadOnlySpan<byte> b, int from, int at, int count) =>
        b[(from + at) / 8] >> ((from + at) % 8) & ((1 << count) - 1);

    // Of 64 bytes, 32 hold 128 numbers, 2 bits each, those 32 apart in one byte.
    private static int Two(ReadOnlySpan<byte> b, int i) => b[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;

    // 16 numbers of 6 bits: 4 bits each in 8 bytes, then 2 bits each in 4 bytes.
    private static int Scale3(ReadOnlySpan<byte> b, int j) => (j < 8 ? b[j] % 16 : b[j - 8] / 16) + 16 * (b[8 + j % 4] >> (j / 4 * 2) & 3);

    // 8 scales, then 8 minima, of 6 bits: the first four of each whole in 8 bytes, which also hold the upper bits of the others.
    private static int Six(ReadOnlySpan<byte> b, int j)
    {
        var (isMinimum, part) = (j / 8, j % 8);
        return part < 4 ? b[part + 4 * isMinimum] % 64 : (b[part + 4] >> (4 * isMinimum) & 15) + 16 * (b[part - 4 + 4 * isMinimum] >> 6);
    }

    private static float Half(ReadOnlySpan<byte> b, int at) => (float)BitConverter.ToHalf(b.Slice(at, 2));

    // Rounded after the product and after the sum.
    private static float Sum(float a, float b) => a + b;
}
