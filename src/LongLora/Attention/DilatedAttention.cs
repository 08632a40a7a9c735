namespace LongLora.Attention;

/// <summary>
/// Heads [0, H/2) attend in groups of G tokens, heads [H/2, H) in groups of every second token of 2 G. It reaches as far as S²-Attn at the
/// same cost, but no head looks across the 2 G tokens. An ablation of the paper (section 4.3, table 6: dilation 1 to 2 over the heads), not
/// for use.
/// </summary>
/// <param name="groupSize">G, at least 2 and even. A text of at most G tokens gets full attention.</param>
internal sealed class DilatedAttention(int groupSize) : PatternAttention
{
    private readonly int _group = ShiftedSparseAttention.CheckGroupSize(groupSize);

    /// <inheritdoc/>
    protected override AttentionPattern Divide(int length)
    {
        var whole = length / (2 * _group);
        // The rest at the end stays in groups without gaps.
        return new(
            [.. TokenGroups.Cover(0, length, _group)],
            [
                .. Enumerable.Range(0, whole).Select(i => new TokenGroups(2 * _group * i, _group, 2, Interleaved: true)),
                .. TokenGroups.Cover(2 * _group * whole, length, _group),
            ]
        );
    }
}
