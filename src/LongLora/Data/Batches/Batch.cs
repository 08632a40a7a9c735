namespace LongLora.Data;

/// <summary>Token ids for one micro-batch, on the host.</summary>
/// <param name="InputIds">[B, L], row by row.</param>
/// <param name="Labels">
/// [B, L], not shifted, <see cref="TrainingExample.IgnoredLabel"/> if nothing is to be learned; null if every token counts.
/// </param>
/// <param name="BatchSize">B.</param>
/// <param name="Length">L.</param>
/// <param name="DocumentLengths">
/// Lengths of the documents in each row where documents may not see each other, summing to L; null where a row is one stretch of text.
/// Positions begin at 0 in each.
/// </param>
internal sealed record Batch(
    long[] InputIds,
    long[]? Labels,
    int BatchSize,
    int Length,
    IReadOnlyList<IReadOnlyList<int>>? DocumentLengths = null
)
{
    /// <summary>
    /// The context that the run trains for: positions are scaled for a text of this length, whatever length a row has. Default L.
    /// </summary>
    public int Context { get; init; } = Length;

    /// <summary>
    /// The same text in rows of <paramref name="length"/> tokens, each a text of its own; what does not fill a row is left out. Where L
    /// is not longer, the batch itself.
    /// </summary>
    /// <exception cref="InvalidOperationException">Documents are kept apart: their lengths say already what is short.</exception>
    public Batch Cut(int length)
    {
        if (DocumentLengths is not null)
            throw new InvalidOperationException("Cannot cut a batch whose documents are kept apart.");
        if (length >= Length)
            return this;
        var rows = Length / length;
        long[] Pick(long[] from) => [.. Enumerable.Range(0, BatchSize).SelectMany(row => from.Skip(row * Length).Take(rows * length))];
        return new Batch(Pick(InputIds), Labels is null ? null : Pick(Labels), BatchSize * rows, length);
    }
}
