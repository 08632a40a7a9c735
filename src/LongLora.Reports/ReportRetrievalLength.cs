namespace LongLora.Reports;

/// <summary>A retrieval task at one length.</summary>
/// <param name="Length">Tokens.</param>
/// <param name="Score">Mean score, 0 to 1.</param>
/// <param name="Trials">Depth and score of each question; empty where only the mean is known.</param>
internal sealed record ReportRetrievalLength(int Length, double Score, IReadOnlyList<(double Depth, double Score)> Trials);
