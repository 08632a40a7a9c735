namespace LongLora.Attention;

/// <summary>Every earlier token: attention at inference, and the comparison in training.</summary>
public sealed class FullAttention : SegmentedAttention
{
    /// <inheritdoc/>
    protected override AttentionPattern Stretches(int length)
    {
        Run[] all = [new(0, length, 1)];
        return new(all, all);
    }
}
