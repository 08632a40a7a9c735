namespace LongLora.Attention;

/// <summary>
/// Heads [0, H/2) in groups, heads [H/2, H) in groups of every second token of a stretch twice as long: as far as S²-Attn reaches, at its
/// cost, but no head crosses the stretches. The paper's ablation (section 4.3, table 6: dilation from 1 to 2 over the heads), not for use.
/// </summary>
/// <param name="groupSize">G, at least 2 and even; a text not longer than it gets full attention.</param>
public sealed class DilatedAttention(int groupSize) : SegmentedAttention
{
    private readonly int _group = ShiftedSparseAttention.CheckedGroup(groupSize);

    /// <inheritdoc/>
    protected override AttentionPattern Stretches(int length)
    {
        var whole = length / (2 * _group);
        // What is left at the end stays in groups without gaps.
        return new(
            [.. Run.Cover(0, length, _group)],
            [
                .. Enumerable.Range(0, whole).Select(i => new Run(2 * _group * i, _group, 2, Interleaved: true)),
                .. Run.Cover(2 * _group * whole, length, _group),
            ]
        );
    }
}
