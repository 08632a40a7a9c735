namespace LongLora.Data;

/// <summary>One document in a <see cref="TokenStore"/>.</summary>
/// <param name="Start">Its first token.</param>
/// <param name="Length">Number of tokens.</param>
/// <param name="Origin">Where it comes from.</param>
internal readonly record struct StoredDocument(long Start, long Length, string Origin);
