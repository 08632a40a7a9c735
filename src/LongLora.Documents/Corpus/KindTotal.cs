namespace LongLora.Documents.Corpus;

/// <summary>What the files of one type contributed.</summary>
/// <param name="Extension">The type, such as <c>.pdf</c>.</param>
/// <param name="Files">Files that could be read.</param>
/// <param name="Documents">Documents in them.</param>
/// <param name="Characters">Characters (UTF-16) of their texts.</param>
/// <param name="Tokens">Number of their tokens; 0 without a tokenizer.</param>
public sealed record KindTotal(string Extension, long Files, long Documents, long Characters, long Tokens);
