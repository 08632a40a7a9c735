namespace LongLora.Evaluation;

/// <summary>
/// LongLoRA's pass key: a number occurs once among filler sentences. Prompts are the same, letter for letter, as in its published
/// evaluation (including the seeds of Python's generator). The size is the filler's length in characters.
/// </summary>
internal sealed class PasskeyTask : RetrievalTask
{
    private const string Filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
    private const int CandidateCount = 10;

    /// <inheritdoc/>
    public override string Name => "passkey";

    /// <inheritdoc/>
    public override int AnswerTokens => 8;

    /// <inheritdoc/>
    public override string Unit => "characters of filler";

    /// <inheritdoc/>
    public override int SmallestSize => 1;

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var before = random.Between(0, size);
        var key = random.Between(1, 50000);
        var filler = string.Join(' ', Enumerable.Repeat(Filler, size / (Filler.Length + 1) + 2));
        string[] lines =
        [
            "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about the "
                + "important information there.",
            filler[..before],
            $"The pass key is {key}. Remember it. {key} is the pass key.",
            filler[..(size - before)],
            "What is the pass key? The pass key is",
        ];
        List<string> candidates = [$" {key}"];
        while (candidates.Count < (key < 10 ? 9 : CandidateCount))
        {
            // Drawn like the key and with the same number of digits, so they give no hint.
            var other = $" {random.Between(1, 50000)}";
            if (other.Length == candidates[0].Length && !candidates.Contains(other))
                candidates.Add(other);
        }
        return new(string.Join('\n', lines), $" {key}", (double)before / size, candidates);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated) => FindFirstNumber(generated) == question.Answer.Trim();
}
