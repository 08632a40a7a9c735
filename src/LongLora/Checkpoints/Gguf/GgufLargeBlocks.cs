using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace LongLora.Checkpoints;

// Types of 256 numbers, whose scales are themselves quantized.

/// <summary>16 scales and minima, 4 bits each; 2 bits per number, of four parts of 32 in the same bytes; then the scales of both.</summary>
internal readonly unsafe struct GgufQ2_K(float scale, float minimum) : IGgufBlock<GgufQ2_K>
{
    private readonly float _scale = scale;
    private readonly float _minimum = minimum;

    public static int Bytes => 84;

    public static int Parts => 16;

    public static bool HasShift => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ2_K Open(byte* block) => new(GgufBlockBytes.Half(block + 80), GgufBlockBytes.Half(block + 82));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale * (block[part] & 15), -(_minimum * (block[part] >> 4)));
        // Two parts of 16 lie side by side, then the next two bits of the same 32 bytes come, then the next 32 bytes.
        var codes = Vector128.Load(block + 16 + part / 8 * 32 + part % 2 * 16) >>> (part % 8 / 2 * 2);
        return (codes & Vector128.Create((byte)3)).AsSByte();
    }
}

/// <summary>The third bit of each number, 2 bits each as in Q2_K, 16 scales of 6 bits less 32, then the scale of these.</summary>
internal readonly unsafe struct GgufQ3_K(float scale) : IGgufBlock<GgufQ3_K>
{
    private readonly float _scale = scale;

    public static int Bytes => 110;

    public static int Parts => 16;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ3_K Open(byte* block) => new(GgufBlockBytes.Half(block + 108));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        var codes = (Vector128.Load(block + 32 + part / 8 * 32 + part % 2 * 16) >>> (part % 8 / 2 * 2)) & Vector128.Create((byte)3);
        var third = (Vector128.Load(block + part % 2 * 16) >>> (part / 2)) & Vector128.Create((byte)1);
        var low = block[96 + part % 8] >> (part / 8 * 4) & 15;
        var high = block[104 + part % 4] >> (part / 4 * 2) & 3;
        (scale, shift) = (_scale * ((low | high << 4) - 32), 0);
        return (codes | third << 2).AsSByte() - Vector128.Create((sbyte)4);
    }
}

/// <summary>Scale and minimum of all, 8 of each of 6 bits, then 4 bits per number.</summary>
internal readonly unsafe struct GgufQ4_K(float scale, float minimum) : IGgufBlock<GgufQ4_K>
{
    private readonly float _scale = scale;
    private readonly float _minimum = minimum;

    public static int Bytes => 144;

    public static int Parts => 16;

    public static bool HasShift => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ4_K Open(byte* block) => new(GgufBlockBytes.Half(block), GgufBlockBytes.Half(block + 2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        var (own, least) = GgufBlocks.ScaleAndMinimum(block + 4, part / 2);
        (scale, shift) = (_scale * own, -(_minimum * least));
        // Two parts of 32 share 32 bytes, the even one in the low halves.
        return GgufBlockBytes.Nibbles(block + 16 + part / 4 * 32 + part % 2 * 16, part / 2 % 2).AsSByte();
    }
}

/// <summary>As Q4_K, with the fifth bits between.</summary>
internal readonly unsafe struct GgufQ5_K(float scale, float minimum) : IGgufBlock<GgufQ5_K>
{
    private readonly float _scale = scale;
    private readonly float _minimum = minimum;

    public static int Bytes => 176;

    public static int Parts => 16;

    public static bool HasShift => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ5_K Open(byte* block) => new(GgufBlockBytes.Half(block), GgufBlockBytes.Half(block + 2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        var (own, least) = GgufBlocks.ScaleAndMinimum(block + 4, part / 2);
        (scale, shift) = (_scale * own, -(_minimum * least));
        var codes = GgufBlockBytes.Nibbles(block + 48 + part / 4 * 32 + part % 2 * 16, part / 2 % 2);
        var fifth = (Vector128.Load(block + 16 + part % 2 * 16) >>> (part / 2)) & Vector128.Create((byte)1);
        return (codes | fifth << 4).AsSByte();
    }
}

/// <summary>128 bytes of low halves, 64 bytes of upper pairs, 16 scales, then the scale of these.</summary>
internal readonly unsafe struct GgufQ6_K(float scale) : IGgufBlock<GgufQ6_K>
{
    private readonly float _scale = scale;

    public static int Bytes => 210;

    public static int Parts => 16;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ6_K Open(byte* block) => new(GgufBlockBytes.Half(block + 208));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        // In each half of the block, four parts of 32 numbers: 64 bytes of low halves, twice, and 32 bytes with four pairs each.
        var (upper, quarter, half) = (part / 8, part % 8 / 2, part % 2);
        var low = GgufBlockBytes.Nibbles(block + upper * 64 + quarter % 2 * 32 + half * 16, quarter / 2);
        var high = (Vector128.Load(block + 128 + upper * 32 + half * 16) >>> (quarter * 2)) & Vector128.Create((byte)3);
        (scale, shift) = (_scale * (sbyte)block[192 + part], 0);
        return (low | high << 4).AsSByte() - Vector128.Create((sbyte)32);
    }
}
