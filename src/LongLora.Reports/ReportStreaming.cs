using LongLora.Evaluation;

namespace LongLora.Reports;

/// <summary>Perplexity along a text of one state of a model.</summary>
/// <param name="State">Such as "before" or "after".</param>
/// <param name="Results">One result for each way to keep keys and values.</param>
internal sealed record ReportStreaming(string State, IReadOnlyList<StreamingResult> Results);
