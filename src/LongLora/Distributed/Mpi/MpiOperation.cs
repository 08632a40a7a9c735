using System.Runtime.ExceptionServices;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>An operation on its way through the thread that owns MPI.</summary>
/// <param name="number">Counts the operations of this rank.</param>
/// <param name="what">Name for messages.</param>
/// <param name="bytes">Bytes of this rank's tensors.</param>
/// <param name="begin">Begins the requests; runs on the thread that owns MPI.</param>
internal sealed class MpiOperation(long number, string what, long bytes, Action<MpiOperation> begin) : IDisposable
{
    private readonly ManualResetEventSlim _ended = new();
    private ExceptionDispatchInfo? _error;

    internal long Number => number;

    internal long Bytes => bytes;

    /// <summary>Requests of MPI that have not ended.</summary>
    internal List<nint> Requests { get; } = [];

    /// <summary>Tensors whose memory MPI uses.</summary>
    internal IReadOnlyList<Tensor> Held { get; init; } = [];

    /// <summary>Runs on the thread that owns MPI when all requests have ended.</summary>
    internal Action? Finish { get; init; }

    internal bool HasEnded => _ended.IsSet;

    internal void Begin() => begin(this);

    internal void End(Exception? error = null)
    {
        if (error is not null)
            _error = ExceptionDispatchInfo.Capture(error);
        _ended.Set();
    }

    internal void Wait()
    {
        _ended.Wait();
        GC.KeepAlive(Held);
        _error?.Throw();
    }

    public override string ToString() => $"{what}, operation {number}, of {bytes:N0} bytes";

    public void Dispose() => _ended.Dispose();
}
