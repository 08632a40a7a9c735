namespace LongLora.Data;

/// <summary>The part of a <see cref="TokenStore"/> that came from one source.</summary>
/// <param name="FirstDocument">Its first document.</param>
/// <param name="DocumentCount">Number of documents.</param>
/// <param name="Start">Its first token.</param>
/// <param name="Length">Number of tokens, including the separators between its documents.</param>
internal readonly record struct StoredCorpus(int FirstDocument, int DocumentCount, long Start, long Length);
