using System.Runtime.Intrinsics;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>A matrix in NF4 with double quantization, as tensors.</summary>
/// <param name="Codes">[ceil(n / 2), 1] bytes with two weights each, the first in the high half.</param>
/// <param name="Scales">[blocks] bytes, indexes into the dynamic 8-bit type; fp32 without double quantization.</param>
/// <param name="NestedScales">[groups of blocks] fp32; null without double quantization.</param>
/// <param name="Offset">Added to every scale.</param>
internal sealed record Nf4Tensors(Tensor Codes, Tensor Scales, Tensor? NestedScales, float Offset);

/// <summary>
/// Quantizes a matrix to NF4: each block of 64 weights is divided by its largest magnitude, and the magnitudes minus their mean are
/// quantized too.
/// </summary>
internal static unsafe class Nf4Quantizer
{
    // A whole number of blocks; 16 MiB in fp32.
    private const long ElementsPerChunk = 4 << 20;

    /// <summary>Quantizes a tensor of any floating-point type chunk by chunk. It needs only a few MiB besides the result.</summary>
    /// <param name="weight">Any shape; its elements are used in memory order.</param>
    public static Nf4Tensors Quantize(Tensor weight)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var flat = weight.detach().reshape(-1);
        var count = flat.numel();
        var codes = HostMemory.AllocateApart(() => empty([(count + 1) / 2, 1], ScalarType.Byte));
        var magnitudes = empty([(count + Nf4Codebook.BlockSize - 1) / Nf4Codebook.BlockSize], ScalarType.Float32);
        nint codesAt = NativeTensor.GetPointer(codes),
            magnitudesAt = NativeTensor.GetPointer(magnitudes);
        for (long start = 0; start < count; start += ElementsPerChunk)
        {
            using var piece = flat.narrow(0, start, Math.Min(ElementsPerChunk, count - start));
            using var wide = piece.to(ScalarType.Float32).cpu().contiguous();
            QuantizeChunk(
                NativeTensor.GetPointer(wide),
                wide.numel(),
                codesAt + (nint)(start / 2),
                magnitudesAt + (nint)(start / Nf4Codebook.BlockSize * sizeof(float))
            );
        }
        var offset = magnitudes.mean();
        var (scales, nested) = QuantizeScales(magnitudes.sub_(offset));
        return new(
            codes.MoveToOuterDisposeScope(),
            scales.MoveToOuterDisposeScope(),
            nested.MoveToOuterDisposeScope(),
            offset.item<float>()
        );
    }

    private static void QuantizeChunk(nint values, long count, nint codes, nint magnitudes)
    {
        var blocks = (count + Nf4Codebook.BlockSize - 1) / Nf4Codebook.BlockSize;
        Parallel.For(0, Environment.ProcessorCount, task =>
        {
            Span<int> indexes = stackalloc int[Nf4Codebook.BlockSize];
            var end = blocks * (task + 1) / Environment.ProcessorCount;
            for (var block = blocks * task / Environment.ProcessorCount; block < end; block++)
            {
                var start = block * Nf4Codebook.BlockSize;
                var source = new ReadOnlySpan<float>((float*)values + start, (int)Math.Min(Nf4Codebook.BlockSize, count - start));
                ((float*)magnitudes)[block] = QuantizeBlock(source, indexes);
                var target = (byte*)codes + start / 2;
                for (var i = 0; i < source.Length; i += 2)
                    target[i / 2] = (byte)(indexes[i] << 4 | (i + 1 < source.Length ? indexes[i + 1] : 0));
            }
        });
    }

    /// <summary>Writes the codes of one block and returns its largest magnitude. A block of zeros gets the code of zero.</summary>
    private static float QuantizeBlock(ReadOnlySpan<float> values, Span<int> codes)
    {
        var largest = 0f;
        foreach (var value in values)
            largest = Math.Max(largest, Math.Abs(value));
        if (largest == 0)
        {
            codes.Fill(Nf4Codebook.Zero);
            return 0;
        }
        var inverse = 1 / largest;
        var i = 0;
        for (; Vector256.IsHardwareAccelerated && i + Vector256<float>.Count <= values.Length; i += Vector256<float>.Count)
        {
            var x = Vector256.Create(values[i..]) * inverse;
            var exceeded = Vector256<int>.Zero;
            foreach (var threshold in Nf4Codebook.Thresholds)
                exceeded -= Vector256.GreaterThan(x, Vector256.Create(threshold)).AsInt32();
            exceeded.CopyTo(codes[i..]);
        }
        for (; i < values.Length; i++)
        {
            codes[i] = 0;
            foreach (var threshold in Nf4Codebook.Thresholds)
                codes[i] += values[i] * inverse > threshold ? 1 : 0;
        }
        return largest;
    }

    private static (Tensor Scales, Tensor NestedScales) QuantizeScales(Tensor centered)
    {
        var values = new ReadOnlySpan<float>((void*)NativeTensor.GetPointer(centered), checked((int)centered.numel()));
        var scales = empty([values.Length], ScalarType.Byte);
        var nested = empty([(values.Length + Nf4Codebook.NestedBlockSize - 1) / Nf4Codebook.NestedBlockSize], ScalarType.Float32);
        var scalesAt = (byte*)NativeTensor.GetPointer(scales);
        var nestedAt = (float*)NativeTensor.GetPointer(nested);
        for (var start = 0; start < values.Length; start += Nf4Codebook.NestedBlockSize)
        {
            var block = values.Slice(start, Math.Min(Nf4Codebook.NestedBlockSize, values.Length - start));
            var largest = 0f;
            foreach (var value in block)
                largest = Math.Max(largest, Math.Abs(value));
            nestedAt[start / Nf4Codebook.NestedBlockSize] = largest;
            var inverse = largest == 0 ? 0 : 1 / largest;
            for (var i = 0; i < block.Length; i++)
                scalesAt[start + i] = (byte)Nf4Codebook.FindNearest(Nf4Codebook.ScaleValues, block[i] * inverse);
        }
        return (scales, nested);
    }
}
