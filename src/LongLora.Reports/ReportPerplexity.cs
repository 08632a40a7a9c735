using LongLora.Evaluation;

namespace LongLora.Reports;

/// <summary>Perplexity of one state of a model.</summary>
/// <param name="State">Such as "before" or "after".</param>
/// <param name="Results">One result per context.</param>
internal sealed record ReportPerplexity(string State, IReadOnlyList<PerplexityResult> Results);
