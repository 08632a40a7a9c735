using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>A queue of a device's work, on which a communicator's operations lie in the order of its calls.</summary>
internal interface INcclStream : IDisposable
{
    /// <summary>What NCCL knows it by.</summary>
    nint Handle { get; }

    /// <summary>Whether a tensor lies in this device's memory.</summary>
    bool Reaches(Tensor tensor);

    /// <summary>Makes all that is queued later wait for what the device was told to compute so far.</summary>
    void Follow();

    /// <summary>Marks the end of what is queued.</summary>
    nint Mark();

    /// <summary>Whether all before a mark is done. After the first true the mark is no longer valid.</summary>
    bool HasPassed(nint mark);
}
