namespace LongLora.Documents.Corpus;

/// <summary>A file that is not in a corpus, and why.</summary>
/// <param name="Name">The folder or file that was given, and the path from there.</param>
/// <param name="Reason">What is wrong with it, and what to do.</param>
public sealed record LeftOutFile(string Name, string Reason);
