namespace LongLora.Attention;

/// <summary>The sizes of one call of <see cref="FlashAttention"/>.</summary>
/// <param name="Batch">B.</param>
/// <param name="Heads">H, the query heads.</param>
/// <param name="SharedHeads">J, the heads of keys and values; a divisor of H.</param>
/// <param name="Queries">L.</param>
/// <param name="Keys">S; equal to L if <paramref name="IsCausal"/>.</param>
/// <param name="Size">K, the numbers of a head.</param>
/// <param name="IsCausal">Whether token i looks at the tokens 0 to i, and not at all of them.</param>
internal readonly record struct FlashSizes(long Batch, long Heads, long SharedHeads, int Queries, int Keys, int Size, bool IsCausal)
{
    /// <summary>Query heads that share keys and values.</summary>
    public long HeadsPerShared => Heads / SharedHeads;

    /// <summary>What scores are multiplied by.</summary>
    public float Scale => (float)(1 / Math.Sqrt(Size));

    /// <summary>Pairs of a query and a key.</summary>
    public double Pairs => Batch * Heads * (double)Queries * (IsCausal ? (Keys + 1) / 2.0 : Keys);
}
