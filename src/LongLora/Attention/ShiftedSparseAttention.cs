using LongLora.Runtime;

namespace LongLora.Attention;

/// <summary>
/// S²-Attn (LongLoRA, section 3.2): heads [0, H/2) attend in groups [kG, (k+1)G), heads [H/2, H) in groups shifted by half a group: [0,
/// G/2), [G/2, 3G/2), ... Nothing wraps around. The published roll does, and lets the first half group see the end of the text.
/// </summary>
/// <param name="groupSize">G, at least 2 and even. A text of at most G tokens gets full attention.</param>
public sealed class ShiftedSparseAttention(int groupSize) : PatternAttention
{
    private readonly int _group = CheckGroupSize(groupSize);

    /// <inheritdoc/>
    protected override AttentionPattern Divide(int length)
    {
        TokenGroups[] lower = [.. TokenGroups.Cover(0, length, _group)];
        if (length <= _group)
            return new(lower, lower);
        var shift = _group / 2;
        return new(lower, [new(0, shift, 1), .. TokenGroups.Cover(shift, length, _group)]);
    }

    internal static int CheckGroupSize(int size) =>
        size >= 2 && size % 2 == 0
            ? size
            : throw new ConfigurationException($"The attention group has {size} tokens, but it must be even and at least 2.");
}
