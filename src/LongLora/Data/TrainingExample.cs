namespace LongLora.Data;

/// <summary>One tokenised document, or one question with its answer.</summary>
/// <param name="Ids">Token ids.</param>
/// <param name="Labels">
/// At each place its own id where it is to be learnt, or <see cref="IgnoredLabel"/>; null where every token counts. Not shifted: label t
/// is the target of position t - 1.
/// </param>
/// <param name="Origin">Where it came from, such as <c>book.txt</c> or <c>data.jsonl:17</c>, for messages.</param>
public sealed record TrainingExample(IReadOnlyList<int> Ids, IReadOnlyList<int>? Labels, string Origin)
{
    /// <summary>A label that adds nothing to the loss (the value that PyTorch and transformers use).</summary>
    public const int IgnoredLabel = -100;

    /// <summary>
    /// Whether this is a piece of an endless token stream, or goes on with the long document of the example before it: joined as it is,
    /// without a separator.
    /// </summary>
    public bool IsPiece { get; init; }
}

/// <summary>A sequence of documents or examples, always in the same order. Reads as it goes: a corpus may be larger than memory.</summary>
public interface IExampleSource
{
    /// <summary>Reads from the beginning.</summary>
    /// <exception cref="LongLora.Runtime.DataException">
    /// A line or file cannot be read; the message names it as <c>file:line</c>.
    /// </exception>
    IEnumerable<TrainingExample> Read(CancellationToken cancellation = default);
}

/// <summary>Token ids for one micro-batch, on the host.</summary>
/// <param name="InputIds">[B, L], row by row.</param>
/// <param name="Labels">
/// [B, L], not shifted, <see cref="TrainingExample.IgnoredLabel"/> where nothing is to be learnt; null where every token counts.
/// </param>
/// <param name="BatchSize">B.</param>
/// <param name="Length">L.</param>
/// <param name="Segments">
/// Lengths of the documents in each row where documents may not see each other, summing to L; null where a row is one stretch of text.
/// Positions begin at 0 in each.
/// </param>
public sealed record Batch(long[] InputIds, long[]? Labels, int BatchSize, int Length, IReadOnlyList<IReadOnlyList<int>>? Segments = null)
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
        if (Segments is not null)
            throw new InvalidOperationException("A batch of documents that are kept apart cannot be cut.");
        if (length >= Length)
            return this;
        var rows = Length / length;
        long[] Pick(long[] from) => [.. Enumerable.Range(0, BatchSize).SelectMany(row => from.Skip(row * Length).Take(rows * length))];
        return new Batch(Pick(InputIds), Labels is null ? null : Pick(Labels), BatchSize * rows, length);
    }
}
