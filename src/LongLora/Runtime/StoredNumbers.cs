using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Loops over numbers in memory, which are read in the type that they are stored in and computed with in fp32.</summary>
internal static unsafe class StoredNumbers
{
    // 2^112
    private const float HalfFactor = 5.192296858534828e33f;

    // As libtorch writes it in bf16.
    private const ushort NotANumber = 0x7FC0;

    /// <summary>Σ w x.</summary>
    /// <param name="weights">w, stored.</param>
    /// <param name="x">As many numbers.</param>
    /// <param name="count">How many.</param>
    public static float Dot<TStored, T>(T* weights, float* x, long count)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        // Four sums, because each addition waits for the one before it.
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

    /// <summary>Numbers in fp32: those at an address themselves, or a copy.</summary>
    /// <param name="type">Their type: fp32, bf16, fp16, or signed bytes.</param>
    /// <param name="address">The first of them.</param>
    /// <param name="count">How many.</param>
    /// <param name="scale">Factor on signed bytes.</param>
    /// <param name="copy">Room for a copy.</param>
    public static float* Read(ScalarType type, nint address, long count, float scale, float* copy)
    {
        switch (type)
        {
            case ScalarType.Float32:
                return (float*)address;
            case ScalarType.BFloat16:
                Widen<Bf16, ushort>((ushort*)address, count, copy);
                return copy;
            case ScalarType.Float16:
                Widen<Fp16, ushort>((ushort*)address, count, copy);
                return copy;
            case ScalarType.Int8:
                Widen((sbyte*)address, scale, count, copy);
                return copy;
            default:
                throw new ShapeException($"Cannot read numbers of type {type} here. Use fp32, bf16, fp16 or int8.");
        }
    }

    /// <summary>Writes numbers times a factor in the type that they are stored in, rounded to the nearest, or to even halfway.</summary>
    /// <param name="numbers">The first of them.</param>
    /// <param name="factor">The factor.</param>
    /// <param name="count">How many.</param>
    /// <param name="type">fp32 or bf16.</param>
    /// <param name="address">Where to.</param>
    public static void Write(float* numbers, float factor, long count, ScalarType type, nint address)
    {
        if (type == ScalarType.BFloat16)
            Round(numbers, factor, count, (ushort*)address);
        else if (type == ScalarType.Float32)
            Scale(numbers, factor, count, (float*)address);
        else
            throw new ShapeException($"Cannot write numbers of type {type} here. Use fp32 or bf16.");
    }

    /// <summary>Writes code · scale for consecutive signed bytes.</summary>
    /// <param name="codes">The bytes.</param>
    /// <param name="scale">The factor.</param>
    /// <param name="count">How many.</param>
    /// <param name="output">As many numbers.</param>
    /// <param name="wide">Whether to use vector instructions, which give the same bits.</param>
    public static void Widen(sbyte* codes, float scale, long count, float* output, bool wide = true)
    {
        long i = 0;
        if (wide && Avx512F.IsSupported)
        {
            for (var factor = Vector512.Create(scale); i + 16 <= count; i += 16)
                (Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(codes + i))) * factor).Store(output + i);
        }
        else if (wide && Avx2.IsSupported)
        {
            for (var factor = Vector256.Create(scale); i + 8 <= count; i += 8)
                (Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(codes + i)) * factor).Store(output + i);
        }
        for (; i < count; i++)
            output[i] = codes[i] * scale;
    }

    /// <summary>
    /// An fp16 number. The exponent moves to its place and gains 127 - 15 by a product, which is right for subnormal numbers as well.
    /// Infinity and NaN have all bits of the exponent set in both types.
    /// </summary>
    /// <param name="bits">Its bits.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float WidenHalf(ushort bits)
    {
        var magnitude = (bits & 0x7FFFu) << 13;
        var number = BitConverter.SingleToUInt32Bits(BitConverter.UInt32BitsToSingle(magnitude) * HalfFactor);
        if (magnitude >= 0x0F80_0000)
            number |= 0x7F80_0000;
        return BitConverter.UInt32BitsToSingle(number | (bits & 0x8000u) << 16);
    }

    /// <summary>sums += factor x.</summary>
    /// <param name="sums">The first of them.</param>
    /// <param name="numbers">x.</param>
    /// <param name="factor">The factor.</param>
    /// <param name="count">How many.</param>
    public static void AddScaled(float* sums, float* numbers, float factor, long count)
    {
        var (i, width) = (0L, Vector<float>.Count);
        for (; i + width <= count; i += width)
            (Vector.Load(sums + i) + Vector.Load(numbers + i) * factor).Store(sums + i);
        for (; i < count; i++)
            sums[i] += numbers[i] * factor;
    }

    private static void Scale(float* numbers, float factor, long count, float* to)
    {
        var (i, width) = (0L, Vector<float>.Count);
        for (; i + width <= count; i += width)
            (Vector.Load(numbers + i) * factor).Store(to + i);
        for (; i < count; i++)
            to[i] = numbers[i] * factor;
    }

    private static void Round(float* numbers, float factor, long count, ushort* to)
    {
        var (i, width) = (0L, Vector<float>.Count);
        for (; i + 2 * width <= count; i += 2 * width)
            Vector
                .Narrow(RoundToUpper(Vector.Load(numbers + i) * factor), RoundToUpper(Vector.Load(numbers + i + width) * factor))
                .Store(to + i);
        for (; i < count; i++)
            to[i] = RoundToBf16(numbers[i] * factor);
    }

    // The upper half, rounded.
    private static ushort RoundToBf16(float number)
    {
        var bits = BitConverter.SingleToUInt32Bits(number);
        return float.IsNaN(number) ? NotANumber : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    // As RoundToBf16 does it, in the lower halves.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> RoundToUpper(Vector<float> numbers)
    {
        var bits = numbers.As<float, uint>();
        var rounded = (bits + new Vector<uint>(0x7FFF) + ((bits >> 16) & Vector<uint>.One)) >> 16;
        return Vector.ConditionalSelect(Vector.Equals(numbers, numbers).As<int, uint>(), rounded, new Vector<uint>(NotANumber));
    }

    private static void Widen<TStored, T>(T* from, long count, float* to)
        where TStored : IStoredNumber<T>
        where T : unmanaged
    {
        var width = Vector<float>.Count;
        var i = 0L;
        for (; i + 2 * width <= count; i += 2 * width)
        {
            var (first, second) = TStored.Load(from + i);
            first.Store(to + i);
            second.Store(to + i + width);
        }
        for (; i < count; i++)
            to[i] = TStored.Widen(from[i]);
    }

    internal readonly struct Fp32 : IStoredNumber<float>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(float* at) =>
            (Vector.Load(at), Vector.Load(at + Vector<float>.Count));

        public static float Widen(float value) => value;
    }

    // The upper half of an fp32 number.
    internal readonly struct Bf16 : IStoredNumber<ushort>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(ushort* at)
        {
            Vector.Widen(Vector.Load(at), out var first, out var second);
            return ((first << 16).As<uint, float>(), (second << 16).As<uint, float>());
        }

        public static float Widen(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);
    }

    internal readonly struct Fp16 : IStoredNumber<ushort>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector<float> First, Vector<float> Second) Load(ushort* at)
        {
            Vector.Widen(Vector.Load(at), out var first, out var second);
            return (Widen(first), Widen(second));
        }

        public static float Widen(ushort value) => WidenHalf(value);

        // As WidenHalf does it.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector<float> Widen(Vector<uint> bits)
        {
            var magnitude = (bits & new Vector<uint>(0x7FFF)) << 13;
            var number = (magnitude.As<uint, float>() * new Vector<float>(HalfFactor)).As<float, uint>();
            number |= Vector.GreaterThanOrEqual(magnitude, new Vector<uint>(0x0F80_0000)) & new Vector<uint>(0x7F80_0000);
            return (number | (bits & new Vector<uint>(0x8000)) << 16).As<uint, float>();
        }
    }
}
