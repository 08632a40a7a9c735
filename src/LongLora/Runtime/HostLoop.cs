using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Says where one loop of our own replaces a chain of libtorch's operators: for fp32 numbers on the CPU, outside autograd. Each operator of
/// a chain reads and writes all numbers; a loop does so once. What a loop computes for a row depends on that row alone.
/// </summary>
internal static class HostLoop
{
    // About 10 µs of work.
    private const long NumbersPerThread = 16 << 10;

    /// <summary>Whether a loop may compute with a tensor.</summary>
    public static bool Takes(Tensor tensor) =>
        tensor.device_type == DeviceType.CPU
        && tensor.dtype == ScalarType.Float32
        && tensor.numel() > 0
        && !(tensor.requires_grad && is_grad_enabled());

    /// <summary>The tensor, or a copy if its numbers do not follow each other.</summary>
    public static Tensor Lay(Tensor tensor) => tensor.is_contiguous() ? tensor : tensor.contiguous();

    /// <summary>Calls <paramref name="body"/> for all rows, several threads each with some of them.</summary>
    /// <param name="rows">Number of rows.</param>
    /// <param name="size">Numbers in a row.</param>
    /// <param name="body">Gets the first row and the number of rows.</param>
    public static void ForRows(long rows, long size, Action<long, long> body) =>
        ThreadTeam.Run(rows, Math.Max(1, NumbersPerThread / size), body);
}
