using System.Numerics;
using System.Runtime.InteropServices;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>Checks the numbers in a stored tensor, because a single NaN silently ruins a whole model.</summary>
internal static unsafe class TensorNumbers
{
    private const int ChunkBytes = 1 << 28;

    /// <summary>
    /// Refuses a tensor with a NaN or infinite element. A number is not finite if all bits of its exponent are set, so a single pass over
    /// the bits as integers finds it, at the speed of the memory and without allocations.
    /// </summary>
    /// <param name="tensor">The numbers. Integers are always accepted.</param>
    /// <param name="info">Where they come from, for the message.</param>
    /// <exception cref="CheckpointException">Names the file, tensor, index and value.</exception>
    public static void RequireFinite(Tensor tensor, TensorInfo info)
    {
        using var value = tensor.detach().cpu().contiguous();
        var first = FindFirstNotFinite(value);
        if (first < 0)
            return;
        throw new CheckpointException(
            $"{info.File}: '{info.Name}' [{string.Join(", ", info.Shape)}] has {GetElement(value, first)} at element {first}. "
                + "The file is damaged, or the model had diverged when it was saved."
        );
    }

    /// <summary>Refuses numbers that became infinite, or NaN, when they were converted to another type.</summary>
    /// <param name="before">The numbers.</param>
    /// <param name="after">The same in the other type, contiguous on the CPU.</param>
    /// <param name="name">Name of the tensor, for the message.</param>
    /// <exception cref="CheckpointException">Names the tensor, index and value.</exception>
    public static void RequireRepresentable(Tensor before, Tensor after, string name)
    {
        var first = FindFirstNotFinite(after);
        if (first < 0)
            return;
        using var value = before.detach().cpu().contiguous();
        throw new CheckpointException(
            $"Cannot write '{name}' as {after.dtype} because its element {first} is {GetElement(value, first):G6}, which this type cannot "
                + "represent. Choose bf16 or fp32, which hold larger numbers."
        );
    }

    private static long FindFirstNotFinite(Tensor value) =>
        value.dtype switch
        {
            ScalarType.Float64 => FindFirstNotFinite<ulong>(value, 0x7FF0_0000_0000_0000),
            ScalarType.Float32 => FindFirstNotFinite<uint>(value, 0x7F80_0000),
            ScalarType.BFloat16 => FindFirstNotFinite<ushort>(value, 0x7F80),
            ScalarType.Float16 => FindFirstNotFinite<ushort>(value, 0x7C00),
            _ => -1,
        };

    private static double GetElement(Tensor value, long index)
    {
        using var flat = value.view(-1);
        using var element = flat[index];
        using var wide = element.to(ScalarType.Float64);
        return wide.item<double>();
    }

    private static long FindFirstNotFinite<T>(Tensor tensor, T exponent)
        where T : unmanaged, IBinaryInteger<T>
    {
        if (tensor.numel() == 0)
            return -1;
        var data = (T*)NativeTensor.GetPointer(tensor);
        var piece = ChunkBytes / sizeof(T);
        for (var start = 0L; start < tensor.numel(); start += piece)
        {
            var found = FindFirstWithAll(new ReadOnlySpan<T>(data + start, (int)Math.Min(piece, tensor.numel() - start)), exponent);
            if (found >= 0)
                return start + found;
        }
        return -1;
    }

    private static int FindFirstWithAll<T>(ReadOnlySpan<T> numbers, T mask)
        where T : unmanaged, IBinaryInteger<T>
    {
        var vectors = MemoryMarshal.Cast<T, Vector<T>>(numbers);
        var masks = new Vector<T>(mask);
        var index = 0;
        while (index < vectors.Length && !Vector.EqualsAny(vectors[index] & masks, masks))
            index++;
        for (var i = index * Vector<T>.Count; i < numbers.Length; i++)
        {
            if ((numbers[i] & mask) == mask)
                return i;
        }
        return -1;
    }
}
