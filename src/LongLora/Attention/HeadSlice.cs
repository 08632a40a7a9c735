namespace LongLora.Attention;

/// <summary>Some consecutive query heads of a layer: [First, First + Count) of Total.</summary>
/// <param name="First">First head.</param>
/// <param name="Count">Number of heads.</param>
/// <param name="Total">H, all query heads of the layer. Patterns with two halves split them at H/2.</param>
public readonly record struct HeadSlice(int First, int Count, int Total)
{
    /// <summary>How many of some heads, which come first, belong to the lower half of a layer.</summary>
    /// <param name="heads">Which heads they are; null for all of the layer.</param>
    /// <param name="count">Number of heads.</param>
    internal static long CountLower(HeadSlice? heads, long count) =>
        Math.Clamp((heads?.Total ?? count) / 2 - (heads?.First ?? 0), 0, count);
}
