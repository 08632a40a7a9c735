using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace LongLora.Checkpoints;

// Types of 32 numbers. The low halves of 16 bytes are the first 16 numbers, the high halves the others.

/// <summary>4 bits each, less 8, and a scale.</summary>
internal readonly unsafe struct GgufQ4_0(float scale) : IGgufBlock<GgufQ4_0>
{
    private readonly float _scale = scale;

    public static int Bytes => 18;

    public static int Parts => 2;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ4_0 Open(byte* block) => new(GgufBlockBytes.Half(block));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, 0);
        return GgufBlockBytes.Nibbles(block + 2, part).AsSByte() - Vector128.Create((sbyte)8);
    }
}

/// <summary>4 bits each, a scale and a minimum.</summary>
internal readonly unsafe struct GgufQ4_1(float scale, float minimum) : IGgufBlock<GgufQ4_1>
{
    private readonly float _scale = scale;
    private readonly float _minimum = minimum;

    public static int Bytes => 20;

    public static int Parts => 2;

    public static bool HasShift => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ4_1 Open(byte* block) => new(GgufBlockBytes.Half(block), GgufBlockBytes.Half(block + 2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, _minimum);
        return GgufBlockBytes.Nibbles(block + 4, part).AsSByte();
    }
}

/// <summary>5 bits each, less 16, and a scale; the fifth bits stand before the others.</summary>
internal readonly unsafe struct GgufQ5_0(float scale) : IGgufBlock<GgufQ5_0>
{
    private readonly float _scale = scale;

    public static int Bytes => 22;

    public static int Parts => 2;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ5_0 Open(byte* block) => new(GgufBlockBytes.Half(block));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, 0);
        return (GgufBlockBytes.Nibbles(block + 6, part) | GgufBlockBytes.FifthBits(block + 2 + 2 * part)).AsSByte()
            - Vector128.Create((sbyte)16);
    }
}

/// <summary>5 bits each, a scale and a minimum; the fifth bits stand before the others.</summary>
internal readonly unsafe struct GgufQ5_1(float scale, float minimum) : IGgufBlock<GgufQ5_1>
{
    private readonly float _scale = scale;
    private readonly float _minimum = minimum;

    public static int Bytes => 24;

    public static int Parts => 2;

    public static bool HasShift => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ5_1 Open(byte* block) => new(GgufBlockBytes.Half(block), GgufBlockBytes.Half(block + 2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, _minimum);
        return (GgufBlockBytes.Nibbles(block + 8, part) | GgufBlockBytes.FifthBits(block + 4 + 2 * part)).AsSByte();
    }
}

/// <summary>8 bits each and a scale.</summary>
internal readonly unsafe struct GgufQ8_0(float scale) : IGgufBlock<GgufQ8_0>
{
    private readonly float _scale = scale;

    public static int Bytes => 34;

    public static int Parts => 2;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufQ8_0 Open(byte* block) => new(GgufBlockBytes.Half(block));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, 0);
        return Vector128.Load(block + 2 + 16 * part).AsSByte();
    }
}

/// <summary>A 4-bit float each and a power of two.</summary>
internal readonly unsafe struct GgufMxfp4(float scale) : IGgufBlock<GgufMxfp4>
{
    // The sixteen 4-bit floats, twice their value; the scale is halved instead.
    private static readonly Vector128<sbyte> s_values = Vector128.Create(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

    private readonly float _scale = scale;

    public static int Bytes => 17;

    public static int Parts => 2;

    public static bool HasShift => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GgufMxfp4 Open(byte* block) =>
        // 2^(e - 127), halved; the two smallest are subnormal.
        new(BitConverter.UInt32BitsToSingle(block[0] < 2 ? 0x0020_0000u << block[0] : (uint)(block[0] - 1) << 23));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift)
    {
        (scale, shift) = (_scale, 0);
        return Vector128.Shuffle(s_values, GgufBlockBytes.Nibbles(block + 1, part).AsSByte());
    }
}
