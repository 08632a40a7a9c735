using LongLora.Attention;
using LongLora.Configs;

namespace LongLora.Training;

// H query heads, J key-value heads, h and j those of one half, K head size, l tokens left of the border

/// <summary>
/// Bytes that two ranks with neighboring parts of a text send each other in one forward and backward pass (S² sequence parallelism). They
/// depend on the attention group, not on the length of the text. With G/2 tokens on either side of the border, a layer sends
/// (G/2) K (2 H + 2 J) elements to the rank that computes, and half of them come back; either rank computes some of the heads.
/// </summary>
/// <param name="Right">From the rank with the earlier tokens to the other.</param>
/// <param name="Left">The way back.</param>
internal sealed record BorderTraffic(long Right, long Left)
{
    /// <summary>Both directions.</summary>
    public long Total => Right + Left;

    /// <summary>Counts one border.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="groups">The groups that the border divides.</param>
    /// <param name="size">Bytes of an element of queries, keys and values.</param>
    /// <param name="withLogSumExps">Whether log-sum-exps are kept for the backward pass, as on the CPU.</param>
    /// <param name="blocksPerSegment">As given to <see cref="CheckpointedPass"/>; with more than 1 the forward pass is run twice.</param>
    internal static BorderTraffic Count(
        ModelConfig config,
        IReadOnlyList<DividedGroup> groups,
        long size,
        bool withLogSumExps,
        int blocksPerSegment = 1
    )
    {
        long right = 0,
            left = 0,
            forwards = blocksPerSegment > 1 ? 2 : 1;
        for (var index = 0; index < config.LayerCount; index++)
        {
            var layer = config.GetLayer(index);
            foreach (var group in groups)
            {
                long times = config.HeadCount / layer.KeyValueHeadCount;
                foreach (var (first, end, isOnLeft) in group.DivideHeads(config.HeadCount, times))
                {
                    long tokens = isOnLeft ? group.Right : group.Left,
                        queries = tokens * (end - first) * layer.HeadSize * size,
                        keys = tokens * ((end + times - 1) / times - first / times) * layer.HeadSize * size,
                        logSumExps = withLogSumExps ? tokens * (end - first) * sizeof(float) : 0;
                    // q, k, v for o; q, k, v, o and its gradient for the gradients of q, k and v.
                    var there = forwards * (queries + 2 * keys) + 3 * queries + 2 * keys + logSumExps;
                    var back = forwards * (queries + logSumExps) + queries + 2 * keys;
                    right += isOnLeft ? back : there;
                    left += isOnLeft ? there : back;
                }
            }
        }
        return new(right, left);
    }
}
