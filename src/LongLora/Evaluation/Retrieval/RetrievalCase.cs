namespace LongLora.Evaluation;

/// <summary>One document with a question about it.</summary>
/// <param name="Prompt">Document and question, up to where the answer starts.</param>
/// <param name="Answer">The correct answer, as it continues the prompt.</param>
/// <param name="Depth">Where in the document the answer is: 0 at the start, 1 at the end.</param>
/// <param name="Candidates">
/// Answers to choose from, including the correct one, for models that cannot answer in words. Empty if there is no such choice.
/// </param>
internal sealed record RetrievalCase(string Prompt, string Answer, double Depth, IReadOnlyList<string> Candidates)
{
    /// <summary>What an answer must contain if several things are asked for. Default: the answer.</summary>
    public IReadOnlyList<string> References { get; init; } = [Answer];
}
