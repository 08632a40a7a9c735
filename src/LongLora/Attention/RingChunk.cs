namespace LongLora.Attention;

/// <summary>Consecutive tokens of a text: [Start, Start + Count).</summary>
/// <param name="Start">First token.</param>
/// <param name="Count">Number of tokens, at least 1.</param>
/// <param name="At">Index of the first token among those of its rank.</param>
internal readonly record struct RingChunk(int Start, int Count, int At)
{
    /// <summary>The token after the last one.</summary>
    internal int End => Start + Count;
}
