namespace LongLora.Attention;

/// <summary>Every earlier token: attention at inference, and the comparison in training.</summary>
public sealed class FullAttention : PatternAttention
{
    /// <inheritdoc/>
    protected override AttentionPattern Divide(int length)
    {
        TokenGroups[] all = [new(0, length, 1)];
        return new(all, all);
    }
}
