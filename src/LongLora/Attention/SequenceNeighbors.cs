using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>The ranks that have the tokens before and after those of this one: what goes over the two borders.</summary>
/// <param name="ranks">The ranks of the text, in the order of its tokens.</param>
internal sealed class SequenceNeighbors(ICommunicator ranks)
{
    /// <summary>Bytes that this rank has sent.</summary>
    internal long SentBytes { get; private set; }

    /// <summary>Sends to both neighbors and receives from both.</summary>
    /// <param name="sent">What is sent, and whether to the next rank; otherwise it goes to the one before.</param>
    /// <param name="into">What is received, and whether from the next rank.</param>
    internal Pending Exchange(IEnumerable<(bool IsNext, Tensor Tensor)> sent, IEnumerable<(bool IsNext, Tensor Tensor)> into)
    {
        int Find(bool isNext) => ranks.Rank + (isNext ? 1 : -1);
        // Heads are sent token by token, [1, t, h, K], as they lie in memory.
        List<(int, Tensor)> sends = [.. sent.Select(s => (Find(s.IsNext), s.Tensor.transpose(1, 2).contiguous()))],
            receives = [.. into.Select(r => (Find(r.IsNext), r.Tensor.transpose(1, 2)))];
        SentBytes += sends.Sum(s => s.Item2.numel() * s.Item2.element_size());
        return sends.Count + receives.Count == 0 ? Pending.Done : ranks.Exchange(sends, receives);
    }
}
