namespace LongLora.Evaluation;

/// <summary>Perplexity along a text, for several ways to keep keys and values.</summary>
internal sealed record StreamingFile() : ModelEvaluationFile(KindName)
{
    internal const string KindName = "streaming";

    /// <summary>One result for each way to keep keys and values.</summary>
    public required IReadOnlyList<StreamingResult> Results { get; init; }
}
