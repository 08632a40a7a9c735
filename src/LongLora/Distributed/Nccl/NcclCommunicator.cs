using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// Ranks whose tensors lie in the memory of GPUs, by NCCL. Another communicator of the same ranks tells them of each other, watches over
/// them, and takes tensors in the host's memory. Not yet run on a GPU.
/// </summary>
internal sealed unsafe class NcclCommunicator : ICommunicator
{
    private const int SpinsBeforeSleep = 1000;

    // Waiting ranks that move this much data are not stuck: a tenth of a slow network.
    private const double BytesPerSecond = 10e6;

    private readonly ICommunicator _host;
    private readonly NcclApi _api;
    private readonly Func<INcclStream> _makeStream;
    private readonly INcclStream _stream;
    private readonly TimeSpan _limit;
    private readonly bool _ownsHost;
    private nint _handle;
    private long _operations,
        _unfinished;

    private NcclCommunicator(ICommunicator host, NcclApi api, Func<INcclStream> makeStream, TimeSpan limit, bool ownsHost)
    {
        (_host, _api, _makeStream, _limit, _ownsHost) = (host, api, makeStream, limit, ownsHost);
        _stream = makeStream();
        using var bytes = zeros(NcclId.Size, ScalarType.Byte);
        NcclId id;
        if (host.IsRoot())
        {
            Check(api.GetUniqueId(&id), "ncclGetUniqueId");
            new ReadOnlySpan<byte>(id.Bytes, NcclId.Size).CopyTo(new Span<byte>((void*)NativeTensor.GetPointer(bytes), NcclId.Size));
        }
        host.Broadcast(bytes, 0).Wait();
        new ReadOnlySpan<byte>((void*)NativeTensor.GetPointer(bytes), NcclId.Size).CopyTo(new Span<byte>(id.Bytes, NcclId.Size));
        nint handle;
        using (host.Phase("joining NCCL", limit))
            Check(api.Join(&handle, host.Size, id, host.Rank), "ncclCommInitRank");
        _handle = handle;
    }

    /// <inheritdoc/>
    public int Rank => _host.Rank;

    /// <inheritdoc/>
    public int Size => _host.Size;

    /// <inheritdoc/>
    public int LocalRank => _host.LocalRank;

    /// <inheritdoc/>
    public int LocalSize => _host.LocalSize;

    /// <inheritdoc/>
    public IReadOnlyList<string> Hosts => _host.Hosts;

    /// <summary>Joins the ranks of another communicator. All of them call it.</summary>
    /// <param name="host">The other communicator, which still belongs to the caller.</param>
    /// <param name="api">NCCL.</param>
    /// <param name="makeStream">Makes a stream, for these ranks and for each group that they are divided into.</param>
    /// <param name="limit">Longest wait for an operation, besides the time that its bytes may take.</param>
    /// <exception cref="CommunicationException">NCCL refuses.</exception>
    internal static NcclCommunicator Open(ICommunicator host, NcclApi api, Func<INcclStream> makeStream, TimeSpan limit) =>
        new(host, api, makeStream, limit, ownsHost: false);

    /// <inheritdoc/>
    public Pending AllReduce(Tensor tensor, Reduction reduction)
    {
        CallRules.CheckReduced(tensor);
        if (!_stream.Reaches(tensor))
            return _host.AllReduce(tensor, reduction);
        var (type, operation) = (NcclApi.TypeOf(tensor.dtype), NcclApi.OperationOf(reduction));
        return Begin($"all-reduce ({reduction})", [tensor], at =>
            Check(_api.AllReduce(at[0], at[0], (nuint)tensor.numel(), type, operation, _handle, _stream.Handle), "ncclAllReduce")
        );
    }

    /// <inheritdoc/>
    public Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckReduced(all);
        CallRules.CheckBorders(all, borders, Size);
        if (!_stream.Reaches(all))
            return _host.ReduceScatter(all, borders);
        var (type, sum, size) = (NcclApi.TypeOf(all.dtype), NcclApi.OperationOf(Reduction.Sum), all.element_size());
        return Begin("reduce-scatter", [all], at =>
        {
            if (FindEven(borders) is { } count)
            {
                var mine = at[0] + (nint)(Rank * count * size);
                Check(_api.ReduceScatter(at[0], mine, (nuint)count, type, sum, _handle, _stream.Handle), "ncclReduceScatter");
                return;
            }
            ForEachPart(borders, (owner, start, elements) =>
            {
                var part = at[0] + (nint)(start * size);
                Check(_api.Reduce(part, part, (nuint)elements, type, sum, owner, _handle, _stream.Handle), "ncclReduce");
            });
        });
    }

    /// <inheritdoc/>
    public Pending AllGather(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckBorders(all, borders, Size);
        if (!_stream.Reaches(all))
            return _host.AllGather(all, borders);
        var size = all.element_size();
        return Begin("all-gather", [all], at =>
        {
            if (FindEven(borders) is { } count)
            {
                var (mine, bytes) = (at[0] + (nint)(Rank * count * size), (nuint)(count * size));
                Check(_api.AllGather(mine, at[0], bytes, NcclApi.Bytes, _handle, _stream.Handle), "ncclAllGather");
                return;
            }
            ForEachPart(borders, (owner, start, elements) =>
            {
                var (part, bytes) = (at[0] + (nint)(start * size), (nuint)(elements * size));
                Check(_api.Broadcast(part, part, bytes, NcclApi.Bytes, owner, _handle, _stream.Handle), "ncclBroadcast");
            });
        });
    }

    /// <inheritdoc/>
    public Pending Broadcast(Tensor tensor, int root)
    {
        CallRules.CheckContiguous(tensor);
        CallRules.CheckRank(root, Size);
        if (!_stream.Reaches(tensor))
            return _host.Broadcast(tensor, root);
        var bytes = (nuint)(tensor.numel() * tensor.element_size());
        return Begin($"broadcast (from {root})", [tensor], at =>
            Check(_api.Broadcast(at[0], at[0], bytes, NcclApi.Bytes, root, _handle, _stream.Handle), "ncclBroadcast")
        );
    }

    /// <inheritdoc/>
    public Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives)
    {
        var all = sends.Concat(receives).ToList();
        foreach (var (peer, tensor) in all)
        {
            CallRules.CheckContiguous(tensor);
            CallRules.CheckRank(peer, Size);
        }
        var onDevice = all.Count(one => _stream.Reaches(one.Item2));
        if (onDevice == 0)
            return _host.Exchange(sends, receives);
        if (onDevice < all.Count)
            throw new ShapeException($"Cannot exchange {all.Count} tensors at once because only {onDevice} of them lie on the GPU.");
        return Begin("exchange", all.ConvertAll(one => one.Item2), at => InGroup(() =>
            {
                for (var i = 0; i < all.Count; i++)
                {
                    var (peer, tensor) = all[i];
                    var bytes = (nuint)(tensor.numel() * tensor.element_size());
                    if (bytes == 0)
                        continue;
                    var call = i < sends.Count ? _api.Send : _api.Receive;
                    Check(call(at[i], bytes, NcclApi.Bytes, peer, _handle, _stream.Handle), i < sends.Count ? "ncclSend" : "ncclRecv");
                }
            }));
    }

    /// <inheritdoc/>
    public ICommunicator Split(int color, int key) =>
        new NcclCommunicator(_host.Split(color, key), _api, _makeStream, _limit, ownsHost: true);

    /// <inheritdoc/>
    public void Tick() => _host.Tick();

    /// <inheritdoc/>
    public IDisposable Phase(string what, TimeSpan limit) => _host.Phase(what, limit);

    /// <inheritdoc/>
    [DoesNotReturn]
    public void Abort(int exitCode, string why) => _host.Abort(exitCode, why);

    /// <summary>Leaves NCCL, without waiting if operations have not ended. The communicator that it was opened over stays.</summary>
    public void Dispose()
    {
        if (_handle != 0)
            _ = _unfinished == 0 ? _api.Destroy(_handle) : _api.Abort(_handle);
        _handle = 0;
        _stream.Dispose();
        if (_ownsHost)
            _host.Dispose();
    }

    private Pending Begin(string what, List<Tensor> tensors, Action<List<nint>> call)
    {
        var bytes = tensors.Sum(t => t.numel() * t.element_size());
        var name = $"{what}, operation {_operations++}, of {bytes:N0} bytes";
        if (bytes == 0)
            return Pending.Done;
        _stream.Follow();
        call(tensors.ConvertAll(NativeTensor.GetAddress));
        var mark = _stream.Mark();
        _unfinished++;
        return new Pending(() =>
        {
            WaitFor(mark, name, bytes);
            GC.KeepAlive(tensors);
            _unfinished--;
        });
    }

    // Whoever waits ticks, so that a rank that others wait for is the one that is taken for hung.
    private void WaitFor(nint mark, string name, long bytes)
    {
        var (watch, limit) = (Stopwatch.StartNew(), _limit + TimeSpan.FromSeconds(bytes / BytesPerSecond));
        for (var spins = 0; !_stream.HasPassed(mark); spins++)
        {
            int state;
            Check(_api.GetAsyncError(_handle, &state), "ncclCommGetAsyncError");
            if (state is not (0 or NcclApi.InProgress))
                Fail($"{name} failed: {_api.Explain(state, _handle)}. Another rank may be gone. Resume the job.");
            if (watch.Elapsed > limit)
                Fail($"{name} has not ended after {limit.TotalSeconds:0.#} s. Another rank may be gone. Resume the job.");
            if (spins <= SpinsBeforeSleep)
                continue;
            Thread.Sleep(1);
            Liveness.Tick();
        }
        Liveness.Skip();
    }

    [DoesNotReturn]
    private void Fail(string why)
    {
        if (_handle != 0)
            _ = _api.Abort(_handle);
        _handle = 0;
        throw new CommunicationException($"rank {Rank} ({Hosts[Rank]}): {why}");
    }

    private void Check(int code, string call)
    {
        if (code is not (0 or NcclApi.InProgress))
            Fail($"{call} failed: {_api.Explain(code, _handle)}.");
    }

    private void ForEachPart(IReadOnlyList<long> borders, Action<int, long, long> act) =>
        InGroup(() =>
        {
            for (var owner = 0; owner < Size; owner++)
            {
                if (borders[owner + 1] > borders[owner])
                    act(owner, borders[owner], borders[owner + 1] - borders[owner]);
            }
        });

    // Begun together; otherwise one would wait for the other.
    private void InGroup(Action act)
    {
        Check(_api.GroupStart(), "ncclGroupStart");
        act();
        Check(_api.GroupEnd(), "ncclGroupEnd");
    }

    // Elements of each part if all are equal.
    private long? FindEven(IReadOnlyList<long> borders)
    {
        var count = borders[1];
        return Enumerable.Range(0, Size).All(rank => borders[rank + 1] - borders[rank] == count) ? count : null;
    }
}
