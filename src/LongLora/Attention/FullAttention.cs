namespace LongLora.Attention;

/// <summary>Each token looks at every earlier token. Used at inference, and for comparison in training.</summary>
public sealed class FullAttention : PatternAttention
{
    /// <inheritdoc/>
    protected override AttentionPattern Divide(int length)
    {
        TokenGroups[] all = [new(0, length, 1)];
        return new(all, all);
    }
}
