namespace LongLora.Attention;

/// <summary>Groups without the shift: no information passes from one group to the next. An ablation of the paper, not for use.</summary>
/// <param name="groupSize">G, at least 2 and even.</param>
internal sealed class GroupedAttention(int groupSize) : PatternAttention
{
    private readonly int _group = ShiftedSparseAttention.CheckGroupSize(groupSize);

    /// <inheritdoc/>
    protected override AttentionPattern Divide(int length)
    {
        TokenGroups[] groups = [.. TokenGroups.Cover(0, length, _group)];
        return new(groups, groups);
    }
}
