using LongLora.Attention;
using LongLora.Configs;
using LongLora.Training;
using TorchSharp;

namespace LongLora.Runs;

// P ranks, L tokens, l = L / P, H query heads, J key-value heads, K head size

/// <summary>
/// What dividing each text among several ranks costs, beside the two usual ways to do so with full attention. Bytes are those that a rank
/// sends in one forward and backward pass.
/// </summary>
/// <param name="Ranks">P.</param>
/// <param name="Tokens">Tokens of all rows of a batch.</param>
/// <param name="LongestPart">Tokens of the rank that has most.</param>
/// <param name="Border">Over the border with most bytes.</param>
/// <param name="UlyssesBytes">
/// DeepSpeed-Ulysses (arXiv 2309.14509), all-to-all over heads: (5 H + 6 J) K l (P - 1) / P elements a layer.
/// </param>
/// <param name="UlyssesLimit">J, as many ranks as DeepSpeed-Ulysses can use.</param>
/// <param name="RingBytes">Ring attention (arXiv 2310.01889): 6 J K l (P - 1) elements a layer.</param>
internal sealed record TextDivision(
    int Ranks,
    long Tokens,
    int LongestPart,
    BorderTraffic Border,
    double UlyssesBytes,
    int UlyssesLimit,
    double RingBytes
)
{
    /// <summary>Share of the time that the average rank waits for the one with most tokens.</summary>
    public double IdleShare => 1 - (double)Tokens / Ranks / LongestPart;

    internal static TextDivision Make(ModelConfig config, IAttention attention, int context, StepMemoryOptions options)
    {
        var (ranks, size) = (options.SequenceParallel, options.ComputeType.ElementSize());
        var plan = SequencePlan.Make(attention, [.. Enumerable.Repeat(new[] { context }, options.BatchSize)], ranks);
        var border = Enumerable
            .Range(1, ranks - 1)
            .Select(rank =>
                BorderTraffic.Count(config, plan.FindDivided(rank), size, withLogSumExps: !options.Cuda, options.BlocksPerSegment)
            )
            .MaxBy(traffic => traffic.Total)!;
        double tokens = plan.Borders[ranks],
            share = tokens / ranks * (ranks - 1) * size,
            forwards = options.BlocksPerSegment > 1 ? 2 : 1,
            ulysses = 0,
            ring = 0;
        foreach (var layer in Enumerable.Range(0, config.LayerCount).Select(config.GetLayer))
        {
            double queries = (double)config.HeadCount * layer.HeadSize,
                keys = (double)layer.KeyValueHeadCount * layer.HeadSize;
            // q, k, v for o; then o's gradient for those of q, k and v. k and v; then these and their gradients.
            ulysses += (forwards * (2 * queries + 2 * keys) + 3 * queries + 4 * keys) * share / ranks;
            ring += (forwards * 2 + 4) * keys * share;
        }
        var heads = Enumerable.Range(0, config.LayerCount).Min(layer => config.GetLayer(layer).KeyValueHeadCount);
        return new(ranks, plan.Borders[ranks], plan.Longest, border, ulysses, heads, ring);
    }
}
