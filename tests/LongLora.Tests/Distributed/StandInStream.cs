using System.Collections.Concurrent;
using LongLora.Distributed;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>A stream that does nothing by itself: what is queued is carried out when somebody asks whether it is done.</summary>
internal sealed class StandInStream : INcclStream
{
    private static readonly ConcurrentDictionary<nint, StandInStream> s_all = new();
    private static long s_last;

    private readonly Queue<IReadOnlyList<StandInOperation>> _queue = new();
    private nint _added,
        _done;

    internal StandInStream()
    {
        Handle = (nint)Interlocked.Increment(ref s_last);
        s_all[Handle] = this;
    }

    public nint Handle { get; }

    internal static StandInStream Find(nint handle) => s_all[handle];

    public bool Reaches(Tensor tensor) => tensor.device_type == DeviceType.CPU;

    public void Follow() { }

    /// <summary>Operations that are carried out together.</summary>
    internal void Add(IReadOnlyList<StandInOperation> operations)
    {
        _queue.Enqueue(operations);
        _added++;
    }

    public nint Mark() => _added;

    public bool HasPassed(nint mark)
    {
        // All of a group arrive before one is waited for, so each of them is tried.
        while (_done < mark && _queue.Peek().Select(o => o.TryRun()).ToList().TrueForAll(ran => ran))
        {
            _queue.Dequeue();
            _done++;
        }
        return _done >= mark;
    }

    public void Dispose() => s_all.TryRemove(Handle, out _);
}
