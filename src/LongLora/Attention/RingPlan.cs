namespace LongLora.Attention;

// L tokens, P ranks

/// <summary>
/// How a text is divided among ranks whose attention is full: into 2 P chunks, of which rank r has chunk r and chunk 2 P - 1 - r. What a
/// chunk costs grows with the tokens before it, and the two together cost the same on every rank (zigzag).
/// </summary>
/// <param name="Length">L, at least 2 P.</param>
/// <param name="Ranks">P.</param>
internal sealed record RingPlan(int Length, int Ranks)
{
    /// <summary>The two chunks of a rank, in the order of the text.</summary>
    internal IReadOnlyList<RingChunk> GetChunks(int rank)
    {
        var (early, late) = (rank, 2 * Ranks - 1 - rank);
        var first = new RingChunk(Border(early), Border(early + 1) - Border(early), 0);
        return [first, new(Border(late), Border(late + 1) - Border(late), first.Count)];
    }

    /// <summary>Tokens of a rank.</summary>
    internal int Count(int rank) => GetChunks(rank).Sum(chunk => chunk.Count);

    /// <summary>Tokens of the rank that has most.</summary>
    internal int Longest => Enumerable.Range(0, Ranks).Max(Count);

    // Where a chunk begins.
    private int Border(int chunk) => (int)((long)chunk * Length / (2 * Ranks));
}
