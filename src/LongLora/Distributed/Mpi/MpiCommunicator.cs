using System.Diagnostics.CodeAnalysis;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// Ranks that are processes, found and joined by MPI. Tensors on another device than the CPU go through host memory.
/// </summary>
internal sealed unsafe class MpiCommunicator : ICommunicator
{
    private const int ExchangeTag = 7;

    private readonly MpiThread _thread;
    private readonly MpiLibrary _library;
    private readonly nint _handle;
    private readonly bool _isWhole;
    private bool _isDisposed;

    private MpiCommunicator(MpiThread thread, nint handle, int rank, int size, IReadOnlyList<string> hosts)
    {
        (_thread, _library, _handle, Rank, Size, Hosts) = (thread, thread.Library, handle, rank, size, hosts);
        _isWhole = handle == thread.Library.World;
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size { get; }

    /// <inheritdoc/>
    public int LocalRank => _thread.LocalRank;

    /// <inheritdoc/>
    public int LocalSize => _thread.LocalSize;

    /// <inheritdoc/>
    public IReadOnlyList<string> Hosts { get; }

    /// <summary>Longest time without a tick before this rank is taken for hung.</summary>
    internal TimeSpan Limit
    {
        set => _thread.Phases.Limit = value;
    }

    // Bytes in one call.
    private long BytesAtOnce { get; init; }

    /// <summary>Name and version of the library.</summary>
    internal string Library => _library.Version;

    /// <summary>Joins the job of the launcher.</summary>
    /// <param name="launcher">Who started this process.</param>
    /// <param name="limit">Longest time without a tick before a rank is taken for hung.</param>
    /// <param name="tell">Prints why the job ends early, on one rank.</param>
    /// <param name="bytesAtOnce">Most bytes in one call of MPI, which counts in 32 bits.</param>
    /// <exception cref="ConfigurationException">There is no fitting library, or it finds another job than the launcher.</exception>
    internal static MpiCommunicator Open(Launcher launcher, TimeSpan limit, Action<string> tell, long bytesAtOnce = 1 << 30)
    {
        var thread = new MpiThread(launcher, new Phases(limit), tell);
        return new MpiCommunicator(thread, thread.Library.World, thread.Rank, thread.Size, thread.Hosts) { BytesAtOnce = bytesAtOnce };
    }

    /// <inheritdoc/>
    public Pending AllReduce(Tensor tensor, Reduction reduction)
    {
        CallRules.CheckReduced(tensor);
        var (type, operation) = (_library.TypeOf(tensor.dtype), _library.OperationOf(reduction));
        return Post($"all-reduce ({reduction})", [tensor], (begun, at) =>
            ForEachPiece(tensor, 0, tensor.numel(), (offset, count) =>
                Begin(begun, request =>
                    _library.BeginAllReduce(_library.InPlace, at[0] + offset, count, type, operation, _handle, (nint*)request)
                )
            )
        );
    }

    /// <inheritdoc/>
    public Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckReduced(all);
        CallRules.CheckBorders(all, borders, Size);
        var (type, sum) = (_library.TypeOf(all.dtype), _library.OperationOf(Reduction.Sum));
        return Post("reduce-scatter", [all], (begun, at) => ForEachPart(all, borders, (owner, offset, count) =>
            {
                // MPI_Ireduce_scatter would put the part of every rank to the front.
                var data = at[0] + offset;
                var (from, into) = owner == Rank ? (_library.InPlace, data) : (data, 0);
                Begin(begun, request => _library.BeginReduce(from, into, count, type, sum, owner, _handle, (nint*)request));
            }));
    }

    /// <inheritdoc/>
    public Pending AllGather(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckBorders(all, borders, Size);
        var size = (int)all.element_size();
        return Post("all-gather", [all], (begun, at) =>
            ForEachPart(all, borders, (owner, offset, count) => BeginBroadcast(begun, at[0] + offset, count * size, owner))
        );
    }

    /// <inheritdoc/>
    public Pending Broadcast(Tensor tensor, int root)
    {
        CallRules.CheckContiguous(tensor);
        CallRules.CheckRank(root, Size);
        var size = (int)tensor.element_size();
        return Post($"broadcast (from {root})", [tensor], (begun, at) =>
            ForEachPiece(tensor, 0, tensor.numel(), (offset, count) => BeginBroadcast(begun, at[0] + offset, count * size, root))
        );
    }

    /// <inheritdoc/>
    public Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives)
    {
        var all = receives.Concat(sends).ToList();
        foreach (var (peer, tensor) in all)
        {
            CallRules.CheckContiguous(tensor);
            CallRules.CheckRank(peer, Size);
        }
        return Post(
            "exchange",
            all.ConvertAll(one => one.Item2),
            (begun, at) =>
            {
                for (var i = 0; i < all.Count; i++)
                    BeginMessage(begun, all[i].Item2, at[i], all[i].Item1, isSend: i >= receives.Count);
            },
            filled: receives.Count
        );
    }

    /// <inheritdoc/>
    public ICommunicator Split(int color, int key)
    {
        MpiCommunicator? group = null;
        var operation = _thread.Post(number => new MpiOperation(number, "split", 0, begun =>
            Begin(begun, request => _library.BeginBarrier(_handle, (nint*)request))
        )
        {
            // All ranks have come, so these calls, which block, do not keep the beats waiting.
            Finish = () =>
            {
                nint own;
                int rank,
                    size;
                _thread.Check(_library.CommSplit(_handle, color, key, &own), "MPI_Comm_split");
                _thread.Check(_library.SetErrorHandler(own, _library.ErrorsReturn), "MPI_Comm_set_errhandler");
                _thread.Check(_library.CommRank(own, &rank), "MPI_Comm_rank");
                _thread.Check(_library.CommSize(own, &size), "MPI_Comm_size");
                var hosts = MpiNames.Gather(_thread, own, size, Hosts[Rank]);
                group = new MpiCommunicator(_thread, own, rank, size, hosts) { BytesAtOnce = BytesAtOnce };
            },
        });
        _thread.Wait(operation);
        return group!;
    }

    /// <inheritdoc/>
    public void Tick() => Liveness.Tick();

    /// <inheritdoc/>
    public IDisposable Phase(string what, TimeSpan limit) => _thread.Phases.Open(what, limit);

    /// <inheritdoc/>
    [DoesNotReturn]
    public void Abort(int exitCode, string why) => _thread.Fail(exitCode, why);

    /// <summary>
    /// Leaves the job when all ranks have come to this point. A group does not wait, so that an error on one rank gets out.
    /// </summary>
    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        if (_isWhole)
        {
            _thread.Dispose();
            return;
        }
        _thread.Post(number => new MpiOperation(number, "end of a group", 0, begun =>
            Begin(begun, request => _library.BeginBarrier(_handle, (nint*)request))
        )
        {
            Finish = () =>
            {
                var own = _handle;
                _thread.Check(_library.CommFree(&own), "MPI_Comm_free");
            },
        });
    }

    // Tensors elsewhere are copied to the host, and those that the operation has filled are copied back.
    private Pending Post(string what, List<Tensor> tensors, Action<MpiOperation, IReadOnlyList<nint>> begin, int? filled = null)
    {
        using var noGradient = no_grad();
        var held = tensors.Select(t => t.device_type == TorchSharp.DeviceType.CPU ? t : t.detach().cpu().DetachFromDisposeScope()).ToList();
        var at = held.ConvertAll(NativeTensor.GetPointer);
        var operation = _thread.Post(number => new MpiOperation(number, what, held.Sum(t => t.numel() * t.element_size()), begun =>
            begin(begun, at)
        )
        {
            Held = held,
        });
        return new Pending(() =>
        {
            _thread.Wait(operation);
            using var copying = no_grad();
            for (var i = 0; i < held.Count; i++)
            {
                if (ReferenceEquals(held[i], tensors[i]))
                    continue;
                if (i < (filled ?? held.Count))
                    tensors[i].copy_(held[i]);
                held[i].Dispose();
            }
        });
    }

    private void BeginMessage(MpiOperation begun, Tensor tensor, nint data, int peer, bool isSend)
    {
        var size = (int)tensor.element_size();
        ForEachPiece(tensor, 0, tensor.numel(), (offset, count) =>
            Begin(begun, request =>
                isSend
                    ? _library.BeginSend(data + offset, count * size, _library.Bytes, peer, ExchangeTag, _handle, (nint*)request)
                    : _library.BeginReceive(data + offset, count * size, _library.Bytes, peer, ExchangeTag, _handle, (nint*)request)
            )
        );
    }

    private void BeginBroadcast(MpiOperation begun, nint data, int bytes, int root) =>
        Begin(begun, request => _library.BeginBroadcast(data, bytes, _library.Bytes, root, _handle, (nint*)request));

    private void Begin(MpiOperation operation, Func<nint, int> call)
    {
        nint request = 0;
        _thread.Check(call((nint)(&request)), "the beginning of it");
        operation.Requests.Add(request);
    }

    private void ForEachPart(Tensor all, IReadOnlyList<long> borders, Action<int, nint, int> act)
    {
        for (var owner = 0; owner < Size; owner++)
        {
            var of = owner;
            ForEachPiece(all, borders[owner], borders[owner + 1], (offset, count) => act(of, offset, count));
        }
    }

    // Gives the offset in bytes and the number of elements of each piece.
    private void ForEachPiece(Tensor tensor, long from, long to, Action<nint, int> act)
    {
        var size = tensor.element_size();
        var most = BytesAtOnce / size;
        for (var start = from; start < to; start += most)
            act((nint)(start * size), (int)Math.Min(most, to - start));
    }
}
