using System.Buffers.Binary;

namespace LongLora.Checkpoints;

/// <summary>
/// Q8_0 as ggml's reference code has it: each 32 numbers share the scale max|x| / 127 in fp16, and are rounded to whole multiples of it,
/// halves away from zero.
/// </summary>
internal static class GgufBlocks
{
    /// <summary>Writes numbers, a multiple of 32, as blocks.</summary>
    public static void Encode(ReadOnlySpan<float> numbers, Span<byte> target)
    {
        for (; numbers.Length > 0; numbers = numbers[GgufFormat.BlockSize..], target = target[GgufFormat.BlockBytes..])
        {
            var block = numbers[..GgufFormat.BlockSize];
            var largest = 0f;
            foreach (var x in block)
                largest = Math.Max(largest, Math.Abs(x));
            var scale = largest / 127;
            var inverse = scale > 0 ? 1 / scale : 0;
            BinaryPrimitives.WriteHalfLittleEndian(target, (Half)scale);
            for (var i = 0; i < block.Length; i++)
                target[2 + i] = (byte)(sbyte)MathF.Round(block[i] * inverse, MidpointRounding.AwayFromZero);
        }
    }

    /// <summary>The numbers of blocks.</summary>
    public static void Decode(ReadOnlySpan<byte> blocks, Span<float> target)
    {
        for (; blocks.Length > 0; blocks = blocks[GgufFormat.BlockBytes..], target = target[GgufFormat.BlockSize..])
        {
            var scale = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks);
            for (var i = 0; i < GgufFormat.BlockSize; i++)
                target[i] = scale * (sbyte)blocks[2 + i];
        }
    }
}
