using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>The ranks that have the tokens before and after those of this one: what goes over the two borders.</summary>
/// <param name="ranks">The ranks of the text, in the order of its tokens.</param>
internal sealed class SequenceNeighbors(ICommunicator ranks)
{
    /// <summary>Bytes that this rank has sent.</summary>
    internal long SentBytes { get; private set; }

    /// <summary>Sends to the next rank, and receives from the one before.</summary>
    internal Pending PassRight(IEnumerable<Tensor> sent, IEnumerable<Tensor> into) => Pass(ranks.Rank + 1, sent, ranks.Rank - 1, into);

    /// <summary>Sends to the rank before, and receives from the next one.</summary>
    internal Pending PassLeft(IEnumerable<Tensor> sent, IEnumerable<Tensor> into) => Pass(ranks.Rank - 1, sent, ranks.Rank + 1, into);

    // Heads are sent token by token, [1, t, h, K], as they lie in memory.
    private Pending Pass(int to, IEnumerable<Tensor> sent, int from, IEnumerable<Tensor> into)
    {
        List<(int, Tensor)> sends = [.. sent.Select(t => (to, t.transpose(1, 2).contiguous()))],
            receives = [.. into.Select(t => (from, t.transpose(1, 2)))];
        SentBytes += sends.Sum(s => s.Item2.numel() * s.Item2.element_size());
        return sends.Count + receives.Count == 0 ? Pending.Done : ranks.Exchange(sends, receives);
    }
}
