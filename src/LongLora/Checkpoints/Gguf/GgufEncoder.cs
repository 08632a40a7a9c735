using System.Buffers.Binary;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Encodes numbers as blocks, like ggml's reference quantizers without an importance matrix. The result equals that of llama.cpp's tool,
/// except for the rounding of sums. Types with blocks of 32 take their scale from the largest number; types with blocks of 256 search for
/// the scale and minimum with the least squared error.
/// </summary>
internal static class GgufEncoder
{
    private const int BlocksPerTask = 256;

    // Smaller groups of numbers count as zero.
    private const float Nothing = 1e-15f;

    private delegate void Encoder(ReadOnlySpan<float> numbers, Span<byte> block);

    /// <summary>The types that can be written.</summary>
    public static IReadOnlyList<GgufType> Types { get; } =
    [GgufType.Q4_0, GgufType.Q5_0, GgufType.Q5_1, GgufType.Q8_0, GgufType.Q4_K, GgufType.Q5_K, GgufType.Q6_K];

    /// <summary>Encodes whole blocks, on all cores.</summary>
    /// <param name="type">One of <see cref="Types"/>.</param>
    /// <param name="numbers">The numbers.</param>
    /// <param name="target">Space for the bytes of their blocks.</param>
    public static unsafe void Encode(GgufType type, ReadOnlySpan<float> numbers, Span<byte> target)
    {
        var (size, bytes, encode) = (GgufFormat.BlockSize(type), GgufFormat.BlockBytes(type), Of(type));
        var blocks = numbers.Length / size;
        fixed (float* from = numbers)
        fixed (byte* to = target)
        {
            var (first, into) = ((nint)from, (nint)to);
            Parallel.For(0, (blocks + BlocksPerTask - 1) / BlocksPerTask, task =>
            {
                for (var block = task * BlocksPerTask; block < Math.Min(blocks, (task + 1) * BlocksPerTask); block++)
                    encode(new((float*)first + (nint)block * size, size), new((byte*)into + (nint)block * bytes, bytes));
            });
        }
    }

    private static Encoder Of(GgufType type) =>
        type switch
        {
            GgufType.Q4_0 => Q4_0,
            GgufType.Q5_0 => Q5_0,
            GgufType.Q5_1 => Q5_1,
            GgufType.Q8_0 => Q8_0,
            GgufType.Q4_K => Q4_K,
            GgufType.Q5_K => Q5_K,
            GgufType.Q6_K => Q6_K,
            _ => throw new ShapeException(
                $"Cannot write {GgufFormat.Name(type)}. Use one of {string.Join(", ", Types.Select(GgufFormat.Name))}."
            ),
        };

    private static void Q4_0(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        // The largest number, with its sign, becomes -8.
        var inverse = WriteScale(block, Largest(numbers) / -8);
        for (var i = 0; i < 16; i++)
        {
            var (low, high) = (Math.Min(15, (int)(numbers[i] * inverse + 8.5f)), Math.Min(15, (int)(numbers[16 + i] * inverse + 8.5f)));
            block[2 + i] = (byte)(low | high << 4);
        }
    }

    private static void Q5_0(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var inverse = WriteScale(block, Largest(numbers) / -16);
        Span<byte> codes = stackalloc byte[32];
        for (var i = 0; i < 32; i++)
            codes[i] = (byte)Math.Min(31, (int)(numbers[i] * inverse + 16.5f));
        WriteFiveBits(codes, block[2..]);
    }

    private static void Q5_1(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var (least, most) = Range(numbers);
        var inverse = WriteScale(block, (most - least) / 31);
        BinaryPrimitives.WriteHalfLittleEndian(block[2..], (Half)least);
        Span<byte> codes = stackalloc byte[32];
        for (var i = 0; i < 32; i++)
            codes[i] = (byte)((numbers[i] - least) * inverse + 0.5f);
        WriteFiveBits(codes, block[4..]);
    }

    private static void Q8_0(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        var inverse = WriteScale(block, Math.Abs(Largest(numbers)) / 127);
        for (var i = 0; i < 32; i++)
            block[2 + i] = (byte)(sbyte)MathF.Round(numbers[i] * inverse, MidpointRounding.AwayFromZero);
    }

    private static void Q4_K(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        Span<byte> codes = stackalloc byte[256];
        WriteParts(numbers, block, codes, 15, -1, 20);
        for (var i = 0; i < 128; i++)
            block[16 + i] = (byte)(codes[Even(i)] | codes[Even(i) + 32] << 4);
    }

    private static void Q5_K(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        Span<byte> codes = stackalloc byte[256];
        WriteParts(numbers, block, codes, 31, -0.5f, 15);
        block[16..48].Clear();
        for (var i = 0; i < 256; i++)
            block[16 + i % 32] |= (byte)(codes[i] >> 4 << (i / 32));
        for (var i = 0; i < 128; i++)
            block[48 + i] = (byte)(codes[Even(i)] & 15 | (codes[Even(i) + 32] & 15) << 4);
    }

    private static void Q6_K(ReadOnlySpan<float> numbers, Span<byte> block)
    {
        Span<float> scales = stackalloc float[16];
        var largest = 0f;
        for (var part = 0; part < 16; part++)
        {
            scales[part] = SymmetricScale(numbers.Slice(part * 16, 16), 32);
            if (Math.Abs(scales[part]) > Math.Abs(largest))
                largest = scales[part];
        }
        block.Clear();
        if (Math.Abs(largest) < Nothing)
            return;
        var inverse = -128 / largest;
        BinaryPrimitives.WriteHalfLittleEndian(block[208..], (Half)(1 / inverse));
        var scale = (float)BinaryPrimitives.ReadHalfLittleEndian(block[208..]);
        for (var i = 0; i < 256; i++)
        {
            var part = i / 16;
            if (i % 16 == 0)
                block[192 + part] = (byte)(sbyte)Math.Min(127, Nearest(inverse * scales[part]));
            var step = scale * (sbyte)block[192 + part];
            var code = step == 0 ? 32 : Math.Clamp(Nearest(numbers[i] / step), -32, 31) + 32;
            // As GgufBlocks.Q6_K reads them.
            var (upper, quarter, within) = (i / 128, i % 128 / 32, i % 32);
            block[upper * 64 + quarter % 2 * 32 + within] |= (byte)((code & 15) << (quarter / 2 * 4));
            block[128 + upper * 32 + within] |= (byte)(code >> 4 << (quarter * 2));
        }
    }

    // Of a byte of a K block, the number in its low half: parts of 32 go in pairs.
    private static int Even(int at) => at / 32 * 64 + at % 32;

    /// <summary>Scales and minima of the eight parts, 6 bits each, and the codes of all numbers.</summary>
    private static void WriteParts(ReadOnlySpan<float> numbers, Span<byte> block, Span<byte> codes, int most, float from, int steps)
    {
        Span<float> scales = stackalloc float[8],
            minima = stackalloc float[8];
        var (largest, deepest) = (0f, 0f);
        for (var part = 0; part < 8; part++)
        {
            (scales[part], minima[part]) = ScaleAndMinimum(numbers.Slice(part * 32, 32), most, from, steps);
            (largest, deepest) = (Math.Max(largest, scales[part]), Math.Max(deepest, minima[part]));
        }
        var packed = block[4..16];
        packed.Clear();
        for (var part = 0; part < 8; part++)
        {
            var scale = largest > 0 ? Math.Min(63, Nearest(63 / largest * scales[part])) : 0;
            var minimum = deepest > 0 ? Math.Min(63, Nearest(63 / deepest * minima[part])) : 0;
            Pack(packed, part, scale, minimum);
        }
        BinaryPrimitives.WriteHalfLittleEndian(block, (Half)(largest / 63));
        BinaryPrimitives.WriteHalfLittleEndian(block[2..], (Half)(deepest / 63));
        var (unit, unitMinimum) = (
            (float)BinaryPrimitives.ReadHalfLittleEndian(block),
            (float)BinaryPrimitives.ReadHalfLittleEndian(block[2..])
        );
        for (var i = 0; i < 256; i++)
        {
            var (own, least) = GgufBlocks.ScaleAndMinimum(packed, i / 32);
            var step = unit * own;
            codes[i] = step == 0 ? (byte)0 : (byte)Math.Clamp(Nearest((numbers[i] + unitMinimum * least) / step), 0, most);
        }
    }

    private static void Pack(Span<byte> packed, int part, int scale, int minimum)
    {
        if (part < 4)
        {
            packed[part] = (byte)scale;
            packed[part + 4] = (byte)minimum;
            return;
        }
        packed[part + 4] = (byte)(scale & 15 | (minimum & 15) << 4);
        packed[part - 4] |= (byte)(scale >> 4 << 6);
        packed[part] |= (byte)(minimum >> 4 << 6);
    }

    /// <summary>
    /// The line x = scale * code - minimum, minimum at least 0, with the least squared error, each number weighted by its magnitude. A few
    /// scales around the obvious one are tried, and for the codes of each the best line has a closed form.
    /// </summary>
    private static (float Scale, float Minimum) ScaleAndMinimum(ReadOnlySpan<float> numbers, int most, float from, int steps)
    {
        Span<float> weights = stackalloc float[numbers.Length];
        Span<float> codes = stackalloc float[numbers.Length];
        var squares = 0f;
        foreach (var x in numbers)
            squares += x * x;
        var average = MathF.Sqrt(squares / numbers.Length);
        float sumWeights = 0,
            sumNumbers = 0;
        for (var i = 0; i < numbers.Length; i++)
        {
            weights[i] = average + Math.Abs(numbers[i]);
            sumWeights += weights[i];
            sumNumbers += weights[i] * numbers[i];
        }
        var (least, largest) = Range(numbers);
        least = Math.Min(least, 0);
        if (largest == least)
            return (0, -least);

        Round(numbers, most / (largest - least), least, most, codes);
        var (scale, minimum) = (1 / (most / (largest - least)), least);
        var best = Error(numbers, weights, codes, scale, minimum);
        for (var step = 0; step <= steps; step++)
        {
            // Continues from the best minimum so far, not from the first.
            Round(numbers, (from + 0.1f * step + most) / (largest - minimum), minimum, most, codes);
            float sumCodes = 0,
                sumSquares = 0,
                sumProducts = 0;
            for (var i = 0; i < numbers.Length; i++)
            {
                sumCodes += weights[i] * codes[i];
                sumSquares += weights[i] * codes[i] * codes[i];
                sumProducts += weights[i] * codes[i] * numbers[i];
            }
            var determinant = sumWeights * sumSquares - sumCodes * sumCodes;
            if (determinant <= 0)
                continue;
            var slope = (sumWeights * sumProducts - sumNumbers * sumCodes) / determinant;
            var offset = (sumSquares * sumNumbers - sumCodes * sumProducts) / determinant;
            if (offset > 0)
                (slope, offset) = (sumProducts / sumSquares, 0);
            var error = Error(numbers, weights, codes, slope, offset);
            if (error < best)
                (best, scale, minimum) = (error, slope, offset);
        }
        return (scale, -minimum);
    }

    private static void Round(ReadOnlySpan<float> numbers, float inverse, float least, int most, Span<float> codes)
    {
        for (var i = 0; i < numbers.Length; i++)
            codes[i] = Math.Clamp(Nearest(inverse * (numbers[i] - least)), 0, most);
    }

    private static float Error(ReadOnlySpan<float> numbers, Span<float> weights, Span<float> codes, float scale, float offset)
    {
        var error = 0f;
        for (var i = 0; i < numbers.Length; i++)
        {
            var difference = scale * codes[i] + offset - numbers[i];
            error += weights[i] * (difference * difference);
        }
        return error;
    }

    /// <summary>
    /// The scale of codes from -most to most - 1 with the least squared error, each number weighted by its square. A few scales around the
    /// one that maps the largest number to -most are tried.
    /// </summary>
    private static float SymmetricScale(ReadOnlySpan<float> numbers, int most)
    {
        var largest = Largest(numbers);
        if (Math.Abs(largest) < Nothing)
            return 0;
        var (scale, best) = (0f, 0f);
        // The obvious one first, so it wins if errors are equal.
        for (var step = -10; step <= 9; step++)
        {
            var change = step == -10 ? 0 : step;
            if (step == 0)
                continue;
            var inverse = -(most + 0.1f * change) / largest;
            var (products, squares) = (0f, 0f);
            foreach (var x in numbers)
            {
                var code = Math.Clamp(Nearest(inverse * x), -most, most - 1);
                products += x * x * x * code;
                squares += x * x * code * code;
            }
            if (step == -10 ? squares != 0 : squares > 0 && products * products > best * squares)
                (scale, best) = (products / squares, products / squares * products);
        }
        return scale;
    }

    // The numbers' low bits two a byte, then their fifth bits in front of them.
    private static void WriteFiveBits(ReadOnlySpan<byte> codes, Span<byte> target)
    {
        var fifth = 0u;
        for (var i = 0; i < 32; i++)
            fifth |= (uint)(codes[i] >> 4) << i;
        BinaryPrimitives.WriteUInt32LittleEndian(target, fifth);
        for (var i = 0; i < 16; i++)
            target[4 + i] = (byte)(codes[i] & 15 | (codes[16 + i] & 15) << 4);
    }

    // Codes use the scale before it is rounded to 16 bits.
    private static float WriteScale(Span<byte> block, float scale)
    {
        BinaryPrimitives.WriteHalfLittleEndian(block, (Half)scale);
        return scale != 0 ? 1 / scale : 0;
    }

    private static float Largest(ReadOnlySpan<float> numbers)
    {
        var largest = 0f;
        foreach (var x in numbers)
        {
            if (Math.Abs(x) > Math.Abs(largest))
                largest = x;
        }
        return largest;
    }

    private static (float Least, float Most) Range(ReadOnlySpan<float> numbers)
    {
        var (least, most) = (numbers[0], numbers[0]);
        foreach (var x in numbers)
            (least, most) = (Math.Min(least, x), Math.Max(most, x));
        return (least, most);
    }

    private static int Nearest(float number) => (int)MathF.Round(number);
}
