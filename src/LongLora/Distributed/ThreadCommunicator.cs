using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// One of several ranks that are threads of this process: for tests, and as the plain meaning of every operation. The rank that comes last
/// carries it out, in the order of the ranks.
/// </summary>
internal sealed class ThreadCommunicator : ICommunicator
{
    private readonly ThreadMeeting _meeting;
    private readonly Phases _phases;
    private int _operation;

    private ThreadCommunicator(ThreadMeeting meeting, int rank, Phases phases) => (_meeting, Rank, _phases) = (meeting, rank, phases);

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size => _meeting.Size;

    /// <inheritdoc/>
    public int LocalRank => Rank;

    /// <inheritdoc/>
    public int LocalSize => Size;

    /// <inheritdoc/>
    public IReadOnlyList<string> Hosts => [.. Enumerable.Repeat(Environment.MachineName, Size)];

    /// <summary>Runs the same body as every rank, each in a thread of its own, and gives the results in the order of the ranks.</summary>
    /// <param name="size">Ranks.</param>
    /// <param name="body">What a rank does.</param>
    /// <param name="limit">Longest wait for the others; null for a minute.</param>
    /// <exception cref="CommunicationException">A rank waited in vain, or made a call that does not fit those of the others.</exception>
    /// <remarks>If a rank fails otherwise, its error is thrown and the other ranks stop waiting.</remarks>
    internal static IReadOnlyList<T> Run<T>(int size, Func<ICommunicator, T> body, TimeSpan? limit = null)
    {
        var meeting = new ThreadMeeting(size, limit ?? TimeSpan.FromMinutes(1));
        var (results, errors) = (new T[size], new Exception?[size]);
        var threads = Enumerable.Range(0, size).Select(rank => new Thread(() => RunOne(rank)) { IsBackground = true }).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        // The cause, not what became of the others.
        var thrown = errors.OfType<Exception>().ToList();
        if ((thrown.Find(e => e is not CommunicationException) ?? thrown.FirstOrDefault()) is { } error)
            ExceptionDispatchInfo.Throw(error);
        return results;

        void RunOne(int rank)
        {
            try
            {
                using var communicator = new ThreadCommunicator(meeting, rank, new Phases(TimeSpan.MaxValue));
                results[rank] = body(communicator);
            }
            catch (Exception e)
            {
                errors[rank] = e;
                meeting.Fail($"rank {rank} ({Environment.MachineName}): {e.Message}");
            }
        }
    }

    /// <inheritdoc cref="Run{T}"/>
    internal static void Run(int size, Action<ICommunicator> body, TimeSpan? limit = null) =>
        Run(
            size,
            communicator =>
            {
                body(communicator);
                return 0;
            },
            limit
        );

    /// <inheritdoc/>
    public Pending AllReduce(Tensor tensor, Reduction reduction)
    {
        CallRules.CheckReduced(tensor);
        return Meet($"all-reduce ({reduction})", tensor, all =>
        {
            using var result = Reduce(all, reduction);
            foreach (var one in all)
                one.copy_(result);
        });
    }

    /// <inheritdoc/>
    public Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckReduced(all);
        CallRules.CheckBorders(all, borders, Size);
        return Meet($"reduce-scatter ({string.Join(' ', borders)})", all, given =>
        {
            using var sum = Reduce(given, Reduction.Sum);
            ForEachPart(borders, (rank, start, count) => Part(given[rank], start, count).copy_(Part(sum, start, count)));
        });
    }

    /// <inheritdoc/>
    public Pending AllGather(Tensor all, IReadOnlyList<long> borders)
    {
        CallRules.CheckBorders(all, borders, Size);
        return Meet($"all-gather ({string.Join(' ', borders)})", all, given => ForEachPart(borders, (rank, start, count) =>
            {
                foreach (var other in given.Where((_, i) => i != rank))
                    Part(other, start, count).copy_(Part(given[rank], start, count));
            }));
    }

    /// <inheritdoc/>
    public Pending Broadcast(Tensor tensor, int root)
    {
        CallRules.CheckContiguous(tensor);
        CallRules.CheckRank(root, Size);
        return Meet($"broadcast (from {root})", tensor, all =>
        {
            foreach (var other in all.Where((_, i) => i != root))
                other.copy_(all[root]);
        });
    }

    /// <inheritdoc/>
    public Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives)
    {
        foreach (var (peer, tensor) in sends.Concat(receives))
        {
            CallRules.CheckContiguous(tensor);
            CallRules.CheckRank(peer, Size);
        }
        return Pending.All([
            .. sends.Select(s => _meeting.Post(Rank, s.Peer, s.Send, isSend: true)),
            .. receives.Select(r => _meeting.Post(r.Peer, Rank, r.Into, isSend: false)),
        ]);
    }

    /// <inheritdoc/>
    public ICommunicator Split(int color, int key)
    {
        var (meeting, rank) = _meeting.Split(_operation++, Rank, color, key);
        return new ThreadCommunicator(meeting, rank, _phases);
    }

    /// <inheritdoc/>
    public void Tick() => Liveness.Tick();

    /// <inheritdoc/>
    public IDisposable Phase(string what, TimeSpan limit) => _phases.Open(what, limit);

    /// <summary>Ends the job: throws here, and wherever another rank waits.</summary>
    [DoesNotReturn]
    public void Abort(int exitCode, string why)
    {
        var message = $"rank {Rank} ({Environment.MachineName}): {why}";
        _meeting.Fail(message);
        throw new CommunicationException(message);
    }

    /// <inheritdoc/>
    public void Dispose() { }

    private Pending Meet(string what, Tensor tensor, Action<IReadOnlyList<Tensor>> carryOut) =>
        _meeting.Meet(_operation++, Rank, what, tensor, carryOut);

    // In the order of the ranks, so the result is the same whoever comes last.
    private static Tensor Reduce(IReadOnlyList<Tensor> all, Reduction reduction)
    {
        var result = all[0].detach().clone();
        foreach (var next in all.Skip(1))
        {
            if (reduction == Reduction.Sum)
                result.add_(next, Scalars.One);
            else
            {
                using var larger = maximum(result, next);
                result.copy_(larger);
            }
        }
        return result;
    }

    private static void ForEachPart(IReadOnlyList<long> borders, Action<int, long, long> act)
    {
        for (var rank = 0; rank + 1 < borders.Count; rank++)
            act(rank, borders[rank], borders[rank + 1] - borders[rank]);
    }

    private static Tensor Part(Tensor all, long start, long count) => all.view(-1).narrow(0, start, count);
}
