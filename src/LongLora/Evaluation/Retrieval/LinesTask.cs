namespace LongLora.Evaluation;

/// <summary>LongChat's lines: a record of numbered registers, one of which is asked for. The size is the number of lines.</summary>
internal sealed class LinesTask : RetrievalTask
{
    private const int CandidateCount = 10;

    /// <inheritdoc/>
    public override string Name => "lines";

    /// <summary>
    /// Whether answers are judged as in LongChat: the last integer within 100 tokens. Use this for LongChat's own prompts, after which the
    /// model may say more than the number. Default false: the first number, because generated documents end where it starts.
    /// </summary>
    public bool AsPublished { get; init; }

    /// <inheritdoc/>
    public override int AnswerTokens => AsPublished ? 100 : 24;

    /// <inheritdoc/>
    public override string Unit => "lines";

    /// <inheritdoc/>
    public override int SmallestSize => 2;

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var names = new HashSet<string>();
        while (names.Count < size)
        {
            // After all pairs of words are used, a number is added.
            var name = $"{random.Choose(EvaluationWords.Adjectives)}-{random.Choose(EvaluationWords.Nouns)}";
            names.Add(names.Contains(name) ? $"{name}-{names.Count}" : name);
        }
        var lines = names.Select(name => (Name: name, Value: random.Between(1, 50000))).ToList();
        var asked = random.Below(size);
        var prompt =
            "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and contains a "
            + "'<REGISTER_CONTENT>' at the end of the line as a numerical value. "
            + "For each line index, memorize its corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve "
            + "the corresponding <REGISTER_CONTENT> of a certain line index. Now the record start:\n\n"
            + string.Concat(lines.Select(l => $"line {l.Name}: REGISTER_CONTENT is <{l.Value}>\n"))
            + $"\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in line {lines[asked].Name}? I need the number. The "
            + $"<REGISTER_CONTENT> in line {lines[asked].Name} is <";
        var others = lines.Where(l => l.Value != lines[asked].Value).Select(l => $"{l.Value}>").Distinct().ToList();
        random.Shuffle(others);
        while (others.Count < CandidateCount - 1) // a short record has fewer lines
        {
            if ($"{random.Between(1, 50000)}>" is var further && further != $"{lines[asked].Value}>" && !others.Contains(further))
                others.Add(further);
        }
        var answer = $"{lines[asked].Value}>";
        return new(prompt, answer, (double)asked / Math.Max(1, size - 1), [answer, .. others.Take(CandidateCount - 1)]);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated) =>
        (AsPublished ? FindLastNumber(generated) : FindFirstNumber(generated)) == FindFirstNumber(question.Answer);
}
