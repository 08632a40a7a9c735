using LongLora.Evaluation;

namespace LongLora.Reports;

/// <summary>The loss on answers of one state of a model.</summary>
/// <param name="State">Such as "before" or "after".</param>
/// <param name="Result">What was measured.</param>
internal sealed record ReportAnswers(string State, AnswersFile Result);
