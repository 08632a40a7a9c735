namespace LongLora.Data;

/// <summary>Token ids for one micro-batch, on the host.</summary>
/// <param name="InputIds">[B, L], row by row.</param>
/// <param name="Labels">
/// [B, L], not shifted, <see cref="TrainingExample.IgnoredLabel"/> if nothing is to be learned; null if every token counts.
/// </param>
/// <param name="BatchSize">B.</param>
/// <param name="Length">L.</param>
/// <param name="DocumentLengths">
/// Lengths of the documents in each row if documents must not attend to each other, summing to L; null if a row is one text. Positions
/// start at 0 in each document.
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
    /// The context that the run trains for. Positions are scaled for a text of this length, whatever the length of a row. Default L.
    /// </summary>
    public int Context { get; init; } = Length;

    /// <summary>
    /// Cuts the text into rows of <paramref name="length"/> tokens, each a separate text; an incomplete row is dropped. If L is not longer,
    /// returns the batch itself.
    /// </summary>
    /// <exception cref="InvalidOperationException">Documents are kept apart, so they already have their own lengths.</exception>
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
