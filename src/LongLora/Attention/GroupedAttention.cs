namespace LongLora.Attention;

/// <summary>Groups without the shift: no information passes from one group to the next. The paper's ablation, not for use.</summary>
/// <param name="groupSize">G, at least 2 and even.</param>
public sealed class GroupedAttention(int groupSize) : SegmentedAttention
{
    private readonly int _group = ShiftedSparseAttention.CheckedGroup(groupSize);

    /// <inheritdoc/>
    protected override AttentionPattern Stretches(int length)
    {
        Run[] groups = [.. Run.Cover(0, length, _group)];
        return new(groups, groups);
    }
}
