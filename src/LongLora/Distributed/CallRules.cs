using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>What all communicators ask of a call, checked before anything is sent.</summary>
internal static class CallRules
{
    /// <exception cref="ShapeException">The tensor is not contiguous, or cannot be reduced.</exception>
    internal static void CheckReduced(Tensor tensor)
    {
        CheckContiguous(tensor);
        if (tensor.dtype is not (ScalarType.Int64 or ScalarType.Float32 or ScalarType.Float64))
            throw new ShapeException($"Cannot reduce a tensor of {tensor.dtype} over ranks. Use int64, fp32 or fp64.");
    }

    /// <exception cref="ShapeException">The tensor is not contiguous.</exception>
    internal static void CheckContiguous(Tensor tensor)
    {
        if (!tensor.is_contiguous())
            throw new ShapeException($"Cannot send the tensor [{string.Join(", ", tensor.shape)}] because it is not contiguous.");
    }

    /// <exception cref="ShapeException">The borders do not divide the tensor among the ranks.</exception>
    internal static void CheckBorders(Tensor all, IReadOnlyList<long> borders, int size)
    {
        CheckContiguous(all);
        var ascend = borders.Zip(borders.Skip(1)).All(pair => pair.First <= pair.Second);
        if (borders.Count != size + 1 || borders[0] != 0 || borders[^1] != all.numel() || !ascend)
            throw new ShapeException(
                $"The borders [{string.Join(", ", borders)}] do not divide {all.numel()} elements among {size} ranks. Give {size + 1} "
                    + "ascending numbers from 0 to the number of elements."
            );
    }

    /// <exception cref="ShapeException">There is no such rank.</exception>
    internal static void CheckRank(int rank, int size)
    {
        if (rank < 0 || rank >= size)
            throw new ShapeException($"There is no rank {rank} among {size}.");
    }
}
