using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Says where the products of a single token are computed from memory to memory. For its few numbers libtorch's calls and tensors take
/// longer than the work. Only passes that read single tokens allow it, because results differ in the last bits,
/// and a backward pass must compute again exactly what its forward pass computed.
/// </summary>
internal static class SmallWork
{
    private const long MostNumbers = 32 << 10;

    [ThreadStatic]
    private static bool s_isAllowed;

    /// <summary>Allows or forbids it on this thread, outside autograd, until the result is disposed.</summary>
    /// <param name="isAllowed">Whether it is allowed.</param>
    public static Permission Allow(bool isAllowed)
    {
        var permission = new Permission(s_isAllowed);
        s_isAllowed = isAllowed;
        return permission;
    }

    /// <summary>Whether it is allowed and a tensor is small, in fp32, contiguous and on the CPU.</summary>
    public static bool Fits(Tensor tensor) =>
        s_isAllowed
        && tensor.device_type == DeviceType.CPU
        && tensor.dtype == ScalarType.Float32
        && tensor.numel() is > 0 and <= MostNumbers
        && tensor.is_contiguous();

    /// <summary>Returns to what was before.</summary>
    /// <param name="before">Whether it was allowed.</param>
    public readonly struct Permission(bool before) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => s_isAllowed = before;
    }
}
