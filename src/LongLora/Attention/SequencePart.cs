namespace LongLora.Attention;

/// <summary>The part of a text that one rank has.</summary>
/// <param name="Start">Its first token in the text.</param>
/// <param name="Length">Number of tokens.</param>
/// <param name="Groups">The groups that lie in it as a whole, one pattern for each row of the batch, counted from its first token.</param>
/// <param name="First">Groups that begin on the rank before it and end here.</param>
/// <param name="Last">Groups that begin here and end on the next rank.</param>
internal sealed record SequencePart(
    int Start,
    int Length,
    IReadOnlyList<AttentionPattern> Groups,
    IReadOnlyList<DividedGroup> First,
    IReadOnlyList<DividedGroup> Last
);
