using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>
/// Asks NVIDIA's driver about a device, because TorchSharp does not. Device numbers are libtorch's, so <c>CUDA_VISIBLE_DEVICES</c> applies.
/// Results are null if there is no driver or no such device. Not yet tried on a GPU.
/// </summary>
internal static unsafe class CudaDriver
{
    private const int CapabilityMajor = 75; // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR

    private static readonly Lazy<nint> s_driver = new(Load);

    /// <summary>The major number of a device's compute capability. bf16 is fully supported from 8 (Ampere) on.</summary>
    internal static int? GetCapability(int index)
    {
        if (Find(index) is not { } device)
            return null;
        int value;
        return ((delegate* unmanaged<int*, int, int, int>)GetFunction("cuDeviceGetAttribute"))(&value, CapabilityMajor, device) == 0
            ? value
            : null;
    }

    /// <summary>A device's name, such as <c>NVIDIA H200</c>.</summary>
    internal static string? GetName(int index)
    {
        if (Find(index) is not { } device)
            return null;
        Span<byte> name = stackalloc byte[256];
        fixed (byte* start = name)
        {
            return ((delegate* unmanaged<byte*, int, int, int>)GetFunction("cuDeviceGetName"))(start, name.Length, device) == 0
                ? Marshal.PtrToStringUTF8((nint)start)
                : null;
        }
    }

    /// <summary>Total bytes of a device.</summary>
    internal static long? GetTotalBytes(int index)
    {
        if (Find(index) is not { } device)
            return null;
        nuint bytes;
        return ((delegate* unmanaged<nuint*, int, int>)GetFunction("cuDeviceTotalMem_v2"))(&bytes, device) == 0 ? (long)bytes : null;
    }

    /// <summary>
    /// Bytes in use by all processes. libtorch keeps the memory it has taken, so after a step this is the peak of that step.
    /// </summary>
    internal static long? GetUsedBytes(int index)
    {
        if (Find(index) is not { } device)
            return null;
        // This is the context that libtorch's runtime uses.
        nint context;
        if (((delegate* unmanaged<nint*, int, int>)GetFunction("cuDevicePrimaryCtxRetain"))(&context, device) != 0)
            return null;
        nuint free = 0,
            total = 0;
        var failed = ((delegate* unmanaged<nint, int>)GetFunction("cuCtxPushCurrent_v2"))(context);
        if (failed == 0)
        {
            failed = ((delegate* unmanaged<nuint*, nuint*, int>)GetFunction("cuMemGetInfo_v2"))(&free, &total);
            _ = ((delegate* unmanaged<nint*, int>)GetFunction("cuCtxPopCurrent_v2"))(&context);
        }
        _ = ((delegate* unmanaged<int, int>)GetFunction("cuDevicePrimaryCtxRelease_v2"))(device);
        return failed == 0 ? (long)(total - free) : null;
    }

    private static int? Find(int index)
    {
        if (s_driver.Value == 0 || index < 0)
            return null;
        int device;
        return ((delegate* unmanaged<int*, int, int>)GetFunction("cuDeviceGet"))(&device, index) == 0 ? device : null;
    }

    private static nint Load()
    {
        var name = OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";
        if (!NativeLibrary.TryLoad(name, out var driver))
            return 0;
        return NativeLibrary.TryGetExport(driver, "cuInit", out var initialize) && ((delegate* unmanaged<uint, int>)initialize)(0) == 0
            ? driver
            : 0;
    }

    private static void* GetFunction(string name) => (void*)NativeLibrary.GetExport(s_driver.Value, name);
}
