namespace LongLora.Reports;

/// <summary>One retrieval task of one state of a model.</summary>
/// <param name="Task">Its name.</param>
/// <param name="State">Such as "before" or "after".</param>
/// <param name="Results">One result per length.</param>
internal sealed record ReportRetrieval(string Task, string State, IReadOnlyList<ReportRetrievalLength> Results);
