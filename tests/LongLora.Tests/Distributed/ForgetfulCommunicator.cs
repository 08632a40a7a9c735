using System.Diagnostics.CodeAnalysis;
using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>Begins operations, but nobody can wait for them: what a program with a missing wait does.</summary>
internal sealed class ForgetfulCommunicator(ICommunicator inner) : ICommunicator
{
    public int Rank => inner.Rank;

    public int Size => inner.Size;

    public int LocalRank => inner.LocalRank;

    public int LocalSize => inner.LocalSize;

    public IReadOnlyList<string> Hosts => inner.Hosts;

    public Pending AllReduce(Tensor tensor, Reduction reduction) => Forget(inner.AllReduce(tensor, reduction));

    public Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders) => Forget(inner.ReduceScatter(all, borders));

    public Pending AllGather(Tensor all, IReadOnlyList<long> borders) => Forget(inner.AllGather(all, borders));

    public Pending Broadcast(Tensor tensor, int root) => Forget(inner.Broadcast(tensor, root));

    public Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives) =>
        Forget(inner.Exchange(sends, receives));

    public ICommunicator Split(int color, int key) => new ForgetfulCommunicator(inner.Split(color, key));

    public void Tick() => inner.Tick();

    public IDisposable Phase(string what, TimeSpan limit) => inner.Phase(what, limit);

    [DoesNotReturn]
    public void Abort(int exitCode, string why) => inner.Abort(exitCode, why);

    public void Dispose() => inner.Dispose();

    private static Pending Forget(Pending _) => Pending.Done;
}
