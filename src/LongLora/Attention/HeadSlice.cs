namespace LongLora.Attention;

/// <summary>Some consecutive query heads of a layer: [First, First + Count) of Total.</summary>
/// <param name="First">First head.</param>
/// <param name="Count">Number of heads.</param>
/// <param name="Total">H, all query heads of the layer. Patterns with two halves split them at H/2.</param>
public readonly record struct HeadSlice(int First, int Count, int Total);
