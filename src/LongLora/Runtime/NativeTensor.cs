using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// The way between tensors and plain memory, which TorchSharp does not have for all types and sizes: through the C functions
/// <c>aoti_torch_create_tensor_from_blob</c> and <c>aoti_torch_get_data_ptr</c> that libtorch exports.
/// </summary>
public static unsafe partial class NativeTensor
{
    // c10::DeviceType::CPU; the types' codes are those of TorchSharp's ScalarType.
    private const int Cpu = 0;

    /// <summary>
    /// A contiguous CPU tensor whose data are the memory at <paramref name="address"/>: no copy. The memory must outlive the tensor and all views of
    /// it; libtorch never frees it.
    /// </summary>
    /// <param name="address">First byte, a multiple of the element's size. May be 0 for a tensor without elements.</param>
    /// <param name="shape">Dimensions, outermost first; empty for a scalar.</param>
    /// <param name="type">The type of the elements, which are in the machine's byte order.</param>
    public static Tensor Wrap(nint address, ReadOnlySpan<long> shape, ScalarType type)
    {
        Span<long> strides = new long[shape.Length];
        var stride = 1L;
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride = checked(stride * Math.Max(shape[i], 1));
        }
        nint handle;
        int failed;
        fixed (long* sizesAt = shape, stridesAt = strides)
        {
            failed = aoti_torch_create_tensor_from_blob((void*)address, shape.Length, sizesAt, stridesAt, 0, (int)type, Cpu, 0, &handle);
        }
        return failed == 0
            ? Tensor.UnsafeCreateTensor(handle)
            : throw new ShapeException($"libtorch refused a {type} tensor of shape [{string.Join(", ", shape.ToArray())}] over given memory.");
    }

    /// <summary>Address of the first element of a contiguous CPU tensor, valid while the tensor lives; 0 where it has no elements.</summary>
    /// <exception cref="ShapeException">The tensor is on another device or has gaps.</exception>
    public static nint Address(Tensor tensor)
    {
        if (tensor.device_type != TorchSharp.DeviceType.CPU || !tensor.is_contiguous())
            throw new ShapeException($"A contiguous tensor on the CPU is needed; this one, [{string.Join(", ", tensor.shape)}], is "
                + $"on {tensor.device}{(tensor.is_contiguous() ? "" : " and not contiguous")}.");
        void* data;
        if (aoti_torch_get_data_ptr(tensor.Handle, &data) != 0)
            throw new ShapeException("libtorch gave no data pointer for the tensor.");
        GC.KeepAlive(tensor);
        return (nint)data;
    }

    /// <summary>Bytes of one element.</summary>
    public static int ElementSize(ScalarType type) => type switch
    {
        ScalarType.Byte or ScalarType.Int8 or ScalarType.Bool => 1,
        ScalarType.Int16 or ScalarType.Float16 or ScalarType.BFloat16 => 2,
        ScalarType.Int32 or ScalarType.Float32 => 4,
        ScalarType.Int64 or ScalarType.Float64 => 8,
        _ => throw new ShapeException($"Tensors of type {type} are not stored."),
    };

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_create_tensor_from_blob(void* data, long dimensions, long* sizes, long* strides,
        long offset, int type, int deviceType, int deviceIndex, nint* result);

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_get_data_ptr(nint tensor, void** data);
}
