using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Moves between tensors and plain memory, which TorchSharp does not offer for all types and sizes. It uses the C functions
/// <c>aoti_torch_create_tensor_from_blob</c> and <c>aoti_torch_get_data_ptr</c> that libtorch exports.
/// </summary>
internal static unsafe partial class NativeTensor
{
    // c10::DeviceType::CPU. The codes of the types are those of TorchSharp's ScalarType.
    private const int Cpu = 0;

    /// <summary>
    /// A contiguous CPU tensor over the memory at <paramref name="data"/>, without a copy. The memory must outlive the tensor and all its
    /// views; libtorch never frees it.
    /// </summary>
    /// <param name="data">Address of the first element, a multiple of the element's size.</param>
    /// <param name="type">The type of the elements, in the byte order of the machine.</param>
    /// <param name="shape">Dimensions, outermost first; empty for a scalar.</param>
    public static Tensor FromMemory(nint data, ScalarType type, IReadOnlyList<long> shape)
    {
        long[] sizes = [.. shape],
            strides = new long[sizes.Length];
        var stride = 1L;
        for (var i = sizes.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride = checked(stride * Math.Max(sizes[i], 1));
        }
        nint handle;
        int failed;
        fixed (
            long* sizesAt = sizes,
                stridesAt = strides
        )
        {
            failed = aoti_torch_create_tensor_from_blob((void*)data, sizes.Length, sizesAt, stridesAt, 0, (int)type, Cpu, 0, &handle);
        }
        return failed == 0
            ? Tensor.UnsafeCreateTensor(handle)
            : throw new ShapeException(
                $"Cannot make a {type} tensor of shape [{string.Join(", ", sizes)}] over given memory: libtorch refused it."
            );
    }

    /// <summary>Address of the first element of a contiguous CPU tensor, valid while the tensor lives; 0 if it has no elements.</summary>
    /// <exception cref="ShapeException">The tensor is on another device or not contiguous.</exception>
    public static nint GetPointer(Tensor tensor)
    {
        if (tensor.device_type != TorchSharp.DeviceType.CPU || !tensor.is_contiguous())
            throw new ShapeException(
                $"Cannot read the memory of the tensor [{string.Join(", ", tensor.shape)}] because it is on "
                    + $"{tensor.device}{(tensor.is_contiguous() ? "" : " and not contiguous")}. Use a contiguous tensor on the CPU."
            );
        return GetAddress(tensor);
    }

    /// <summary>Address of the first element of a tensor on any device, for calls that know the device.</summary>
    public static nint GetAddress(Tensor tensor)
    {
        void* address;
        if (aoti_torch_get_data_ptr(tensor.Handle, &address) != 0)
            throw new ShapeException("Cannot read the memory of the tensor because libtorch gave no data pointer.");
        GC.KeepAlive(tensor);
        return (nint)address;
    }

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_create_tensor_from_blob(
        void* data,
        long dimensions,
        long* sizes,
        long* strides,
        long offset,
        int type,
        int deviceType,
        int deviceIndex,
        nint* result
    );

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_get_data_ptr(nint tensor, void** data);
}
