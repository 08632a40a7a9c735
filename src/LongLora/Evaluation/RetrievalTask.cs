namespace LongLora.Evaluation;

/// <summary>One document with a question about it.</summary>
/// <param name="Prompt">Document and question, up to where the answer begins.</param>
/// <param name="Answer">The right answer, as it goes on from the prompt.</param>
/// <param name="Depth">Where in the document the answer stands: 0 at its beginning, 1 at its end.</param>
/// <param name="Candidates">
/// Answers to choose among for models that cannot answer in words; the right one is among them. Empty where there is no such choice.
/// </param>
public sealed record RetrievalCase(string Prompt, string Answer, double Depth, IReadOnlyList<string> Candidates)
{
    /// <summary>What an answer must hold, where several things are asked for. Default: the answer.</summary>
    public IReadOnlyList<string> References { get; init; } = [Answer];
}

/// <summary>A kind of question about a long document. The same seed and size give the same document on every machine.</summary>
public abstract class RetrievalTask
{
    /// <summary>Its name on the command line.</summary>
    public abstract string Name { get; }

    /// <summary>Most tokens of an answer.</summary>
    public abstract int AnswerTokens { get; }

    /// <summary>What <see cref="Make"/>'s size counts, such as characters of filler.</summary>
    public abstract string Unit { get; }

    /// <summary>The smallest size.</summary>
    public abstract int SmallestSize { get; }

    /// <summary>Makes a document.</summary>
    /// <param name="seed">Chooses what is hidden, and where.</param>
    /// <param name="size">How long, in <see cref="Unit"/>; longer documents have more tokens.</param>
    public abstract RetrievalCase Make(int seed, int size);

    /// <summary>Whether a generated text is the answer.</summary>
    public abstract bool IsRight(RetrievalCase question, string generated);

    /// <summary>How much of the answer a generated text has, 0 to 1. Default: all or nothing.</summary>
    public virtual double Score(RetrievalCase question, string generated) => IsRight(question, generated) ? 1 : 0;

    /// <summary>Whether documents leave room for <see cref="AnswerTokens"/>; otherwise for the right answer alone. Default false.</summary>
    public virtual bool ReservesAnswer => false;

    private protected static string? LastNumber(string text) =>
        string.Concat(text.Reverse().SkipWhile(c => !char.IsAsciiDigit(c)).TakeWhile(char.IsAsciiDigit).Reverse()) is { Length: > 0 } digits
            ? digits
            : null;

    // The first whole number of a text, or null.
    private protected static string? FirstNumber(string text) =>
        string.Concat(text.SkipWhile(c => !char.IsAsciiDigit(c)).TakeWhile(char.IsAsciiDigit)) is { Length: > 0 } digits ? digits : null;
}

/// <summary>
/// LongLoRA's pass key: a number stands once among filler sentences. Prompts are those of its published evaluation, letter by letter
/// (seeded as there with Python's generator); the size is the filler's length in characters.
/// </summary>
public sealed class PasskeyTask : RetrievalTask
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
            // Drawn like the key, and of as many digits, so that neither tells anything.
            var other = $" {random.Between(1, 50000)}";
            if (other.Length == candidates[0].Length && !candidates.Contains(other))
                candidates.Add(other);
        }
        return new(string.Join('\n', lines), $" {key}", (double)before / size, candidates);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated) => FirstNumber(generated) == question.Answer.Trim();
}

/// <summary>LongChat's lines: a record of numbered registers, one of which is asked for. The size is the number of lines.</summary>
public sealed class LinesTask : RetrievalTask
{
    private const int CandidateCount = 10;

    /// <inheritdoc/>
    public override string Name => "lines";

    /// <summary>
    /// Whether answers are judged as LongChat does: the last whole number of up to 100 tokens. For prompts of its own files, which leave
    /// the model to say more than the number. Default false: the first number, since documents made here end where it begins.
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
            // Past the pairs of two words a number tells them apart.
            var name = $"{random.Choice(EvaluationWords.Adjectives)}-{random.Choice(EvaluationWords.Nouns)}";
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
        var answer = $"{lines[asked].Value}>";
        return new(prompt, answer, (double)asked / Math.Max(1, size - 1), [answer, .. others.Take(CandidateCount - 1)]);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated) =>
        (AsPublished ? LastNumber(generated) : FirstNumber(generated)) == FirstNumber(question.Answer);
}

/// <summary>
/// LongChat's topics: a long conversation goes through several topics, and the first one is asked for. The conversations are made here;
/// the size is the number of topics.
/// </summary>
public sealed class TopicsTask : RetrievalTask
{
    private const int CandidateCount = 10,
        TurnsInTopic = 4;

    /// <inheritdoc/>
    public override string Name => "topics";

    /// <inheritdoc/>
    public override int AnswerTokens => 50;

    /// <inheritdoc/>
    public override string Unit => "topics";

    /// <inheritdoc/>
    public override int SmallestSize => 1;

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var topics = new List<string>();
        while (topics.Count < Math.Max(size, CandidateCount))
        {
            var topic = $"the {random.Choice(EvaluationWords.Aspects)} of {random.Choice(EvaluationWords.Subjects)}";
            if (!topics.Contains(topic))
                topics.Add(topic);
        }
        var prompt =
            $"Below is a record of our previous conversation on {size} different topics. You are the ASSISTANT, and I am the USER. At "
            + $"the beginning of each topic, the USER will say "
            + "'I would like to discuss the topic of <TOPIC>'. Memorize each <TOPIC>. At the end of the record, I will ask you to "
            + "retrieve the first topic. Now the record start. "
            + string.Concat(topics.Take(size).Select(topic => Conversation(topic, random)))
            + "Now the record ends. What is the first topic we discussed? Only give me the topic name. Do not summarize yourself.\n "
            + "ASSISTANT: The first topic we discussed is";
        return new(prompt, $" {topics[0]}", 0, [.. topics.Take(CandidateCount).Select(t => $" {t}")]);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated)
    {
        static string Plain(string text) =>
            string.Join(
                ' ',
                text.ToLowerInvariant()
                    .Split(Array.FindAll([.. text.Distinct()], c => !char.IsLetter(c)), StringSplitOptions.RemoveEmptyEntries)
            );
        return Plain(generated).Contains(Plain(question.Answer), StringComparison.Ordinal);
    }

    private static string Conversation(string topic, PythonRandom random)
    {
        var text =
            $"USER: I would like to discuss the topic of {topic}. \n ASSISTANT: Sure, I'd be happy to talk about that with you! What "
            + $"specifically would you like to know? \n ";
        for (var turn = 0; turn < TurnsInTopic; turn++)
            text +=
                $"USER: {random.Choice(EvaluationWords.Questions)} \n ASSISTANT: {random.Choice(EvaluationWords.Answers)} "
                + $"{random.Choice(EvaluationWords.Answers)} \n ";
        return text + $"USER: Great, this is the end of our discussion on {topic}. Let's talk about the next topic. ";
    }
}
