using System.Runtime.InteropServices;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// A stream of CUDA beside the one that libtorch computes on, by NVIDIA's driver, so that sending and computing overlap. Not yet run on a
/// GPU.
/// </summary>
internal sealed unsafe class CudaStream : INcclStream
{
    private const uint NonBlocking = 1,
        WithoutTiming = 2;

    private const int NotReady = 600;

    private readonly nint _driver = NativeLibrary.Load("libcuda.so.1");
    private readonly delegate* unmanaged[Cdecl]<int, nint*, int> _getCurrent;
    private readonly int _device;

    /// <summary>Makes one on a device that libtorch uses already.</summary>
    internal CudaStream(int device)
    {
        _device = device;
        var torchCuda = NativeLibrary.Load("libtorch_cuda.so");
        _getCurrent = (delegate* unmanaged[Cdecl]<int, nint*, int>)NativeLibrary.GetExport(torchCuda, "aoti_torch_get_current_cuda_stream");
        using var first = zeros(1, device: new Device(DeviceType.CUDA, device)); // this thread has a context now
        nint stream;
        Check(((delegate* unmanaged[Cdecl]<nint*, uint, int>)Find("cuStreamCreate"))(&stream, NonBlocking), "cuStreamCreate");
        Handle = stream;
    }

    /// <inheritdoc/>
    public nint Handle { get; }

    /// <inheritdoc/>
    public bool Reaches(Tensor tensor) => tensor.device_type == DeviceType.CUDA && tensor.device_index == _device;

    /// <inheritdoc/>
    public void Follow()
    {
        nint current;
        if (_getCurrent(_device, &current) != 0)
            throw new CommunicationException("libtorch does not tell the stream that it computes on.");
        var mark = MarkOn(current);
        Check(((delegate* unmanaged[Cdecl]<nint, nint, uint, int>)Find("cuStreamWaitEvent"))(Handle, mark, 0), "cuStreamWaitEvent");
        Remove(mark);
    }

    /// <inheritdoc/>
    public nint Mark() => MarkOn(Handle);

    /// <inheritdoc/>
    public bool HasPassed(nint mark)
    {
        var code = ((delegate* unmanaged[Cdecl]<nint, int>)Find("cuEventQuery"))(mark);
        if (code == NotReady)
            return false;
        Check(code, "cuEventQuery");
        Remove(mark);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => _ = ((delegate* unmanaged[Cdecl]<nint, int>)Find("cuStreamDestroy_v2"))(Handle);

    private nint MarkOn(nint stream)
    {
        nint mark;
        Check(((delegate* unmanaged[Cdecl]<nint*, uint, int>)Find("cuEventCreate"))(&mark, WithoutTiming), "cuEventCreate");
        Check(((delegate* unmanaged[Cdecl]<nint, nint, int>)Find("cuEventRecord"))(mark, stream), "cuEventRecord");
        return mark;
    }

    // The driver keeps it until what waits for it is done.
    private void Remove(nint mark) => Check(((delegate* unmanaged[Cdecl]<nint, int>)Find("cuEventDestroy_v2"))(mark), "cuEventDestroy");

    private nint Find(string name) => NativeLibrary.GetExport(_driver, name);

    private static void Check(int code, string call)
    {
        if (code != 0)
            throw new CommunicationException($"{call} failed: CUDA's error {code}.");
    }
}
