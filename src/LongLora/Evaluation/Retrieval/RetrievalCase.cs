namespace LongLora.Evaluation;

/// <summary>One document with a question about it.</summary>
/// <param name="Prompt">Document and question, up to where the answer begins.</param>
/// <param name="Answer">The right answer, as it goes on from the prompt.</param>
/// <param name="Depth">Where in the document the answer stands: 0 at its beginning, 1 at its end.</param>
/// <param name="Candidates">
/// Answers to choose among for models that cannot answer in words; the right one is among them. Empty where there is no such choice.
/// </param>
internal sealed record RetrievalCase(string Prompt, string Answer, double Depth, IReadOnlyList<string> Candidates)
{
    /// <summary>What an answer must hold, where several things are asked for. Default: the answer.</summary>
    public IReadOnlyList<string> References { get; init; } = [Answer];
}
