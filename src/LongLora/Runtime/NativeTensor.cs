using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// The way between tensors and plain memory, which TorchSharp does not have for all types and sizes: through the C functions
/// <c>aoti_torch_create_tensor_from_blob</c> and <c>aoti_torch_get_data_ptr</c> that libtorch exports.
/// </summary>
internal static unsafe partial class NativeTensor
{
    // c10::DeviceType::CPU; the types' codes are those of TorchSharp's ScalarType.
    private const int Cpu = 0;

    /// <summary>
    /// A contiguous CPU tensor whose elements lie at <paramref name="data"/>: no copy. The memory must outlive the tensor and all views of
    /// it; libtorch never frees it.
    /// </summary>
    /// <param name="data">Address of the first element, a multiple of the element's size.</param>
    /// <param name="type">The type of the elements, which are in the machine's byte order.</param>
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
            : throw new ShapeException($"libtorch refused a {type} tensor of shape [{string.Join(", ", sizes)}] over given memory.");
    }

    /// <summary>
    /// Address of the first element of a contiguous CPU tensor, valid while the tensor lives; 0 where it has no elements.
    /// </summary>
    /// <exception cref="ShapeException">The tensor is on another device or has gaps.</exception>
    public static nint GetPointer(Tensor tensor)
    {
        if (tensor.device_type != TorchSharp.DeviceType.CPU || !tensor.is_contiguous())
            throw new ShapeException(
                $"A contiguous tensor on the CPU is needed; this one, [{string.Join(", ", tensor.shape)}], is "
                    + $"on {tensor.device}{(tensor.is_contiguous() ? "" : " and not contiguous")}."
            );
        void* address;
        if (aoti_torch_get_data_ptr(tensor.Handle, &address) != 0)
            throw new ShapeException("libtorch gave no data pointer for the tensor.");
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
