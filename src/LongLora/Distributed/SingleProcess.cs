using System.Diagnostics.CodeAnalysis;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>A job of one process: there is nobody to tell anything.</summary>
internal sealed class SingleProcess : ICommunicator
{
    /// <summary>The only one.</summary>
    internal static SingleProcess Instance { get; } = new();

    private readonly Phases _phases = new(TimeSpan.MaxValue);

    private SingleProcess() { }

    /// <inheritdoc/>
    public int Rank => 0;

    /// <inheritdoc/>
    public int Size => 1;

    /// <inheritdoc/>
    public int LocalRank => 0;

    /// <inheritdoc/>
    public int LocalSize => 1;

    /// <inheritdoc/>
    public IReadOnlyList<string> Hosts { get; } = [Environment.MachineName];

    /// <summary>Leaves the tensor as it is: it is the result.</summary>
    public Pending AllReduce(Tensor tensor, Reduction reduction)
    {
        CallRules.CheckReduced(tensor);
        return Pending.Done;
    }

    /// <summary>Leaves the tensor as it is: it is the sum.</summary>
    public Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckReduced(all);
        CallRules.CheckBorders(all, borders, 1);
        return Pending.Done;
    }

    /// <summary>Leaves the tensor as it is: it is whole.</summary>
    public Pending AllGather(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckBorders(all, borders, 1);
        return Pending.Done;
    }

    /// <summary>Leaves the tensor as it is.</summary>
    public Pending Broadcast(Tensor tensor, int root)
    {
        CallRules.CheckContiguous(tensor);
        CallRules.CheckRank(root, 1);
        return Pending.Done;
    }

    /// <summary>Copies what the process sends itself.</summary>
    public Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives)
    {
        foreach (var (peer, tensor) in sends.Concat(receives))
        {
            CallRules.CheckContiguous(tensor);
            CallRules.CheckRank(peer, 1);
        }
        if (sends.Count != receives.Count)
            throw new ShapeException($"A single process sends itself {sends.Count} tensors, but receives {receives.Count}.");
        using var noGradient = no_grad();
        for (var i = 0; i < sends.Count; i++)
            receives[i].Into.copy_(sends[i].Send);
        return Pending.Done;
    }

    /// <inheritdoc/>
    public ICommunicator Split(int color, int key) => this;

    /// <inheritdoc/>
    public void Tick() => Liveness.Tick();

    /// <inheritdoc/>
    public IDisposable Phase(string what, TimeSpan limit) => _phases.Open(what, limit);

    /// <summary>Throws: whoever started the process ends it.</summary>
    [DoesNotReturn]
    public void Abort(int exitCode, string why) => throw new CommunicationException(why);

    /// <summary>Nothing: the instance is shared.</summary>
    public void Dispose() { }
}
