using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Tensors over memory that libtorch does not own.</summary>
internal static unsafe partial class NativeTensor
{
    /// <summary>A CPU tensor whose elements lie at <paramref name="data"/>; the memory must outlive it.</summary>
    /// <param name="data">Address of the first element, aligned to the element's size.</param>
    /// <param name="type">Element type.</param>
    /// <param name="shape">Dimensions of a contiguous tensor.</param>
    internal static Tensor FromMemory(IntPtr data, ScalarType type, IReadOnlyList<long> shape)
    {
        const int cpu = 0;
        long[] sizes = [.. shape], strides = new long[sizes.Length];
        long stride = 1;
        for (var i = sizes.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride *= sizes[i];
        }
        IntPtr handle;
        int failed;
        fixed (long* s = sizes)
        fixed (long* t = strides)
            failed = aoti_torch_create_tensor_from_blob(data, sizes.Length, s, t, 0, (int)type, cpu, 0, &handle);
        if (failed != 0)
            throw new InvalidOperationException($"libtorch could not make a {type} tensor [{string.Join(", ", shape)}] over mapped memory.");
        return Tensor.UnsafeCreateTensor(handle);
    }

    /// <summary>Address of the first element; the tensor must stay alive while it is used.</summary>
    internal static IntPtr Data(Tensor tensor)
    {
        IntPtr data;
        if (aoti_torch_get_data_ptr(tensor.Handle, &data) != 0)
            throw new InvalidOperationException("libtorch gave no address for a tensor.");
        return data;
    }

    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_get_data_ptr(IntPtr tensor, IntPtr* data);

    // TorchSharp's ScalarType has the numbers of c10::ScalarType, which are those of the C interface too.
    [LibraryImport("torch_cpu")]
    private static partial int aoti_torch_create_tensor_from_blob(IntPtr data, long dimensions, long* sizes, long* strides, long offset,
        int type, int deviceType, int deviceIndex, IntPtr* handle);
}
