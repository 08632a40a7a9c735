namespace LongLora.Data;

/// <summary>One document in a <see cref="TokenStore"/>.</summary>
/// <param name="Start">Its first token.</param>
/// <param name="Length">Its tokens.</param>
/// <param name="Origin">Where it came from.</param>
public readonly record struct StoredDocument(long Start, long Length, string Origin);
