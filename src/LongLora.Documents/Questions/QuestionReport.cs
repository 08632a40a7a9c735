using LongLora.Documents.Corpus;

namespace LongLora.Documents.Questions;

/// <summary>What a run of <see cref="QuestionBuilder"/> left.</summary>
/// <param name="Path">The file with questions and answers, or with prompts.</param>
/// <param name="Prompts">Prompts in all.</param>
/// <param name="Answered">Those that have an answer.</param>
/// <param name="Asked">Those that were answered in this run.</param>
/// <param name="LeftOut">Files that could not be read.</param>
public sealed record QuestionReport(string Path, int Prompts, int Answered, int Asked, IReadOnlyList<LeftOutFile> LeftOut);
