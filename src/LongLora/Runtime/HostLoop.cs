using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Says where one loop of our own replaces a chain of libtorch's operators: for numbers in fp32 or bf16 on the CPU, outside autograd. Each
/// operator of a chain reads and writes all numbers; a loop does so once, and rounds once. What a loop computes for a row depends on that
/// row alone.
/// </summary>
internal static class HostLoop
{
    // About 10 µs of work.
    private const long NumbersPerThread = 16 << 10;

    [ThreadStatic]
    private static PinnedBuffer? s_room;

    /// <summary>Whether a loop may compute with a tensor.</summary>
    public static bool Takes(Tensor tensor) =>
        tensor.device_type == DeviceType.CPU
        && tensor.dtype is ScalarType.Float32 or ScalarType.BFloat16
        && tensor.numel() > 0
        && !(tensor.requires_grad && is_grad_enabled());

    /// <summary>The tensor, or a copy if its numbers do not follow each other.</summary>
    public static Tensor Lay(Tensor tensor) => tensor.is_contiguous() ? tensor : tensor.contiguous();

    /// <summary>Whether it may read and write the numbers where they are, in fp32.</summary>
    public static bool TakesInPlace(Tensor tensor) => tensor.dtype == ScalarType.Float32 && Takes(tensor);

    /// <summary>Room for copies of rows, until this thread asks again.</summary>
    /// <param name="count">Numbers.</param>
    public static unsafe float* GetRoom(long count) => (s_room ??= new()).Get(count);

    /// <summary>target += scale x in place, for x [N, D] of another type, without a copy of it.</summary>
    /// <param name="target">[N, D].</param>
    /// <param name="numbers">x.</param>
    /// <param name="scale">The factor.</param>
    public static unsafe void AddScaled(this Tensor target, Tensor numbers, double scale)
    {
        if (!TakesInPlace(target) || !Takes(numbers) || !RowsAt.Fits(target) || !RowsAt.Fits(numbers))
        {
            target.add_(numbers, Scalars.Of(scale));
            return;
        }
        var (size, to, from) = (target.size(-1), new RowsAt(target), new RowsAt(numbers));
        ForRows(target.numel() / size, size, (first, count) =>
        {
            var room = GetRoom(size);
            for (var row = first; row < first + count; row++)
                StoredNumbers.AddScaled(to.Open(row, room), from.Read(row, size, room), (float)scale, size);
        });
        GC.KeepAlive(target);
        GC.KeepAlive(numbers);
    }

    /// <summary>Calls <paramref name="body"/> for all rows, several threads each with some of them.</summary>
    /// <param name="rows">Number of rows.</param>
    /// <param name="size">Numbers in a row.</param>
    /// <param name="body">Gets the first row and the number of rows.</param>
    public static void ForRows(long rows, long size, Action<long, long> body) =>
        ThreadTeam.Run(rows, Math.Max(1, NumbersPerThread / size), body);
}
