using System.Diagnostics.CodeAnalysis;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>What the processes of one job (its ranks) tell each other.</summary>
/// <remarks>
/// <para>
/// All ranks make the same calls in the same order, with tensors of the same shape and type. <see cref="Exchange"/> alone concerns only its
/// peers. Tensors are contiguous. A call only begins an operation: <see cref="Pending.Wait"/> comes before its memory is touched again, and
/// several operations can be under way.
/// </para>
/// <para>
/// Calls come from one thread at a time. An operation that fails, or takes longer than its ranks may, throws a
/// <see cref="CommunicationException"/> that names the rank, its host, the operation with its number, and the bytes.
/// </para>
/// <para>
/// The communicator of a whole job is disposed when all is well, because that waits for all ranks; after an error <see cref="Abort"/> ends
/// the job.
/// </para>
/// </remarks>
internal interface ICommunicator : IDisposable
{
    /// <summary>This process, from 0.</summary>
    int Rank { get; }

    /// <summary>Number of processes, at least 1.</summary>
    int Size { get; }

    /// <summary>This process among those of its machine, from 0.</summary>
    int LocalRank { get; }

    /// <summary>Number of processes on this machine.</summary>
    int LocalSize { get; }

    /// <summary>The machine of each rank.</summary>
    IReadOnlyList<string> Hosts { get; }

    /// <summary>Replaces a tensor by what those of all ranks make together, in place: all ranks get the same bits.</summary>
    /// <param name="tensor">int64, fp32 or fp64.</param>
    /// <param name="reduction">Sum or maximum.</param>
    Pending AllReduce(Tensor tensor, Reduction reduction);

    /// <summary>
    /// Sums the tensors of all ranks, in place: rank r gets elements [borders[r], borders[r + 1]) of the sum. Its other elements are then
    /// undefined.
    /// </summary>
    /// <param name="all">[n] int64, fp32 or fp64.</param>
    /// <param name="borders">Size + 1 ascending numbers from 0 to n.</param>
    Pending ReduceScatter(Tensor all, IReadOnlyList<long> borders);

    /// <summary>Puts together a tensor of which rank r has elements [borders[r], borders[r + 1]), in place.</summary>
    /// <param name="all">[n] of any type.</param>
    /// <param name="borders">Size + 1 ascending numbers from 0 to n.</param>
    Pending AllGather(Tensor all, IReadOnlyList<long> borders);

    /// <summary>Gives all ranks the tensor of one.</summary>
    /// <param name="tensor">Any type; overwritten on the other ranks.</param>
    /// <param name="root">Whose tensor it is.</param>
    Pending Broadcast(Tensor tensor, int root);

    /// <summary>
    /// Sends tensors to some ranks and receives others. What one rank sends another in several parts, or calls, arrives in this order.
    /// </summary>
    /// <param name="sends">Tensors of any type, and who gets them.</param>
    /// <param name="receives">Where tensors go, of the type and shape that is sent, and from whom they come.</param>
    Pending Exchange(IReadOnlyList<(int Peer, Tensor Send)> sends, IReadOnlyList<(int Peer, Tensor Into)> receives);

    /// <summary>
    /// Divides the ranks into groups, each with a communicator of its own: ranks of one color, in the order of their keys and, where these
    /// are equal, of their ranks. All ranks call it; the caller disposes the result, on all ranks at the same point.
    /// </summary>
    ICommunicator Split(int color, int key);

    /// <summary>Says that this rank has moved on. A rank that does not, and does not wait for others either, is taken for hung.</summary>
    void Tick();

    /// <summary>Declares a piece of work that may go without a tick for longer than others.</summary>
    /// <param name="what">What it is, for the message that names a hung rank, such as "saving".</param>
    /// <param name="limit">Longest time without a tick until the returned object is disposed.</param>
    IDisposable Phase(string what, TimeSpan limit);

    /// <summary>Ends the job on all ranks; in a job of several processes it ends this process.</summary>
    /// <param name="exitCode">The job's exit code.</param>
    /// <param name="why">Printed once, with this rank and its host.</param>
    [DoesNotReturn]
    void Abort(int exitCode, string why);
}
