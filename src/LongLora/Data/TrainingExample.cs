namespace LongLora.Data;

/// <summary>One tokenized document, or one question with its answer.</summary>
/// <param name="Ids">Token ids.</param>
/// <param name="Labels">
/// For each token its own id if it is to be learned, or <see cref="IgnoredLabel"/>; null if every token is learned. Not shifted: label t is
/// the target of position t - 1.
/// </param>
/// <param name="Origin">Where it comes from, such as <c>book.txt</c> or <c>data.jsonl:17</c>, for messages.</param>
public sealed record TrainingExample(IReadOnlyList<int> Ids, IReadOnlyList<int>? Labels, string Origin)
{
    /// <summary>A label that adds nothing to the loss (the value that PyTorch and transformers use).</summary>
    public const int IgnoredLabel = -100;

    /// <summary>
    /// Whether this continues the previous example, as a chunk of a token stream or of a long document does. Then no separator is put
    /// between them.
    /// </summary>
    public bool IsJoined { get; init; }
}
