namespace LongLora.Evaluation;

/// <summary>One of RULER's tasks.</summary>
/// <param name="Task">RULER's name for it.</param>
/// <param name="Scoring">How answers were judged.</param>
/// <param name="Results">One result per length.</param>
internal sealed record RulerTaskResult(string Task, RetrievalScoring Scoring, IReadOnlyList<RetrievalAtLength> Results);
