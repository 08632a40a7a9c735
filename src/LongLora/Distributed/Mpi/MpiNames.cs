using System.Text;

namespace LongLora.Distributed;

/// <summary>Short texts of all ranks. For moments at which all ranks are known to be there: it blocks.</summary>
internal static unsafe class MpiNames
{
    private const int Bytes = 256;

    /// <summary>The text of each rank of a communicator, at most 256 bytes.</summary>
    internal static IReadOnlyList<string> Gather(MpiThread thread, nint communicator, int size, string mine)
    {
        var sent = new byte[Bytes];
        Encoding.UTF8.GetEncoder().Convert(mine, sent, flush: true, out _, out _, out _);
        var all = new byte[size * Bytes];
        var library = thread.Library;
        fixed (
            byte* from = sent,
                to = all
        )
            thread.Check(
                library.AllGather((nint)from, Bytes, library.Bytes, (nint)to, Bytes, library.Bytes, communicator),
                "MPI_Allgather"
            );
        return [.. Enumerable.Range(0, size).Select(r => Encoding.UTF8.GetString(all, r * Bytes, Bytes).TrimEnd('\0'))];
    }
}
