namespace LongLora.Documents.Corpus;

/// <summary>How far a corpus is.</summary>
/// <param name="Files">Files that are done.</param>
/// <param name="AllFiles">Files in all.</param>
/// <param name="Bytes">Bytes of these files that are done.</param>
/// <param name="AllBytes">Bytes of all files.</param>
public readonly record struct PrepareProgress(int Files, int AllFiles, long Bytes, long AllBytes);
