namespace LongLora.Documents.Corpus;

/// <summary>The progress of a corpus.</summary>
/// <param name="Files">Number of finished files.</param>
/// <param name="AllFiles">Number of all files.</param>
/// <param name="Bytes">Bytes of the finished files.</param>
/// <param name="AllBytes">Bytes of all files.</param>
public readonly record struct PrepareProgress(int Files, int AllFiles, long Bytes, long AllBytes);
