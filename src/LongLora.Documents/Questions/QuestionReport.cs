using LongLora.Documents.Corpus;

namespace LongLora.Documents.Questions;

/// <summary>The result of a run of <see cref="QuestionBuilder"/>.</summary>
/// <param name="Path">The file with questions and answers, or with prompts.</param>
/// <param name="Prompts">Number of all prompts.</param>
/// <param name="Answered">Number of prompts that have an answer.</param>
/// <param name="Asked">Number of prompts that were answered in this run.</param>
/// <param name="LeftOut">Files that could not be read.</param>
public sealed record QuestionReport(string Path, int Prompts, int Answered, int Asked, IReadOnlyList<LeftOutFile> LeftOut);
