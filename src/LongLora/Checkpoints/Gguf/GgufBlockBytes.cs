using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>Reads bytes of a block.</summary>
internal static unsafe class GgufBlockBytes
{
    private static readonly Vector128<byte> s_bits = Vector128.Create((byte)1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);

    /// <summary>A scale in fp16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Half(byte* at) => StoredNumbers.WidenHalf(Unsafe.ReadUnaligned<ushort>(at));

    /// <summary>Half a byte each: the low halves of 16 bytes for part 0, the high halves for part 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Nibbles(byte* at, int part)
    {
        var bytes = Vector128.Load(at);
        return part == 0 ? bytes & Vector128.Create((byte)15) : bytes >>> 4;
    }

    /// <summary>16 where the bit of a number is set, one bit each in two bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> FifthBits(byte* at)
    {
        var spread = Vector128.Create(Vector64.Create(at[0]), Vector64.Create(at[1]));
        return Vector128.Equals(spread & s_bits, s_bits) & Vector128.Create((byte)16);
    }
}
