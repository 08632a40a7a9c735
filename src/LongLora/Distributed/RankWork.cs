using System.Runtime.ExceptionServices;
using System.Text;
using System.Text.Json;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>Work that one rank does for all, and small things that ranks tell each other. All ranks make each call.</summary>
internal static class RankWork
{
    private static readonly TimeSpan s_longest = TimeSpan.FromMinutes(10);

    private const long Done = 0,
        Failed = 1,
        Canceled = 2;

    /// <summary>Whether this rank reads and writes the files of the job.</summary>
    internal static bool IsRoot(this ICommunicator communicator) => communicator.Rank == 0;

    /// <summary>Rank 0 works, and all get the result. If it fails, it throws its error and the others a silent one.</summary>
    /// <param name="communicator">The ranks.</param>
    /// <param name="what">The work, as "saving" or "opening the run directory".</param>
    /// <param name="work">Gives something that JSON can hold.</param>
    /// <exception cref="FailedElsewhereException">It failed, and this is not rank 0.</exception>
    /// <exception cref="OperationCanceledException">It was canceled.</exception>
    internal static T OnRoot<T>(this ICommunicator communicator, string what, Func<T> work)
    {
        if (communicator.Size == 1)
            return work();
        string? result = null;
        Exception? error = null;
        if (communicator.IsRoot())
        {
            using (communicator.Phase(what, s_longest))
                error = Try(() => result = JsonSerializer.Serialize(work()));
        }
        Agree(communicator, error);
        return JsonSerializer.Deserialize<T>(communicator.BroadcastText(result ?? ""))!;
    }

    /// <inheritdoc cref="OnRoot{T}"/>
    internal static void OnRoot(this ICommunicator communicator, string what, Action work) => communicator.OnRoot(what, () =>
        {
            work();
            return 0;
        });

    /// <summary>One rank of each machine works while the others of all machines wait. If it fails anywhere, all throw.</summary>
    /// <inheritdoc cref="OnRoot{T}" path="/param|/exception"/>
    internal static void OnEachMachine(this ICommunicator communicator, string what, Action work) =>
        communicator.OnAll(what, communicator.LocalRank == 0 ? work : () => { });

    /// <summary>Each rank works, and waits until all are done. If one fails, all throw.</summary>
    /// <inheritdoc cref="OnRoot{T}" path="/param|/exception"/>
    internal static void OnAll(this ICommunicator communicator, string what, Action work)
    {
        if (communicator.Size == 1)
        {
            work();
            return;
        }
        Exception? error;
        using (communicator.Phase(what, s_longest))
            error = Try(work);
        Agree(communicator, error);
    }

    /// <summary>Whether any rank says so: then all know.</summary>
    internal static bool IsAny(this ICommunicator communicator, bool mine)
    {
        if (communicator.Size == 1)
            return mine;
        using var any = tensor(new[] { mine ? 1L : 0L });
        communicator.AllReduce(any, Reduction.Max).Wait();
        return any.data<long>()[0] != 0;
    }

    /// <summary>Gives all ranks the text of rank 0.</summary>
    internal static string BroadcastText(this ICommunicator communicator, string text)
    {
        if (communicator.Size == 1)
            return text;
        using var length = tensor(new[] { (long)Encoding.UTF8.GetByteCount(text) });
        communicator.Broadcast(length, 0).Wait();
        var count = length.data<long>()[0];
        using var bytes = communicator.IsRoot() ? tensor(Encoding.UTF8.GetBytes(text)) : zeros(count, ScalarType.Byte);
        if (count == 0)
            return "";
        communicator.Broadcast(bytes, 0).Wait();
        return Encoding.UTF8.GetString(bytes.data<byte>().ToArray());
    }

    /// <summary>The texts of all ranks, in their order.</summary>
    internal static IReadOnlyList<string> GatherTexts(this ICommunicator communicator, string mine)
    {
        var (rank, size, text) = (communicator.Rank, communicator.Size, Encoding.UTF8.GetBytes(mine));
        using var lengths = zeros(size, ScalarType.Int64);
        lengths.narrow(0, rank, 1).copy_(tensor(new[] { (long)text.Length }));
        communicator.AllGather(lengths, [.. Enumerable.Range(0, size + 1).Select(r => (long)r)]).Wait();
        var borders = new List<long> { 0 };
        foreach (var length in lengths.data<long>().ToArray())
            borders.Add(borders[^1] + length);
        using var all = zeros(borders[^1], ScalarType.Byte);
        all.narrow(0, borders[rank], text.Length).copy_(tensor(text));
        communicator.AllGather(all, borders).Wait();
        var bytes = all.data<byte>().ToArray();
        return [.. Enumerable.Range(0, size).Select(r => Encoding.UTF8.GetString(bytes[(int)borders[r]..(int)borders[r + 1]]))];
    }

    private static Exception? Try(Action work)
    {
        try
        {
            work();
            return null;
        }
        catch (Exception e)
        {
            return e;
        }
    }

    // After it either all go on, or none does.
    private static void Agree(ICommunicator communicator, Exception? error)
    {
        using var worst = tensor(
            new[]
            {
                error is null ? Done
                : error is OperationCanceledException ? Canceled
                : Failed,
            }
        );
        communicator.AllReduce(worst, Reduction.Max).Wait();
        if (error is not null)
            ExceptionDispatchInfo.Throw(error);
        switch (worst.data<long>()[0])
        {
            case Failed:
                throw new FailedElsewhereException();
            case Canceled:
                throw new OperationCanceledException();
        }
    }
}
