namespace LongLora.Evaluation;

/// <summary>
/// LongChat's topics: a long conversation covers several topics, and the question asks for the first one. The conversations are generated;
/// the size is the number of topics.
/// </summary>
internal sealed class TopicsTask : RetrievalTask
{
    private const int CandidateCount = 10,
        TurnsInTopic = 4;

    private static readonly int s_plain = EvaluationWords.Aspects.Length * EvaluationWords.Subjects.Length;

    /// <inheritdoc/>
    public override string Name => "topics";

    /// <inheritdoc/>
    public override int AnswerTokens => 50;

    /// <inheritdoc/>
    public override string Unit => "topics";

    /// <inheritdoc/>
    public override int SmallestSize => 1;

    /// <inheritdoc/>
    public override int LargestSize => s_plain * (1 + EvaluationWords.Places.Length);

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var topics = new List<string>();
        var known = new HashSet<string>();
        while (topics.Count < Math.Max(size, CandidateCount))
        {
            var topic = $"the {random.Choose(EvaluationWords.Aspects)} of {random.Choose(EvaluationWords.Subjects)}";
            if (topics.Count >= s_plain) // all of them are there
                topic += $" in {random.Choose(EvaluationWords.Places)}";
            if (known.Add(topic))
                topics.Add(topic);
        }
        var prompt =
            $"Below is a record of our previous conversation on {size} different topics. You are the ASSISTANT, and I am the USER. "
            + "At the beginning of each topic, the USER will say 'I would like to discuss the topic of <TOPIC>'. Memorize each "
            + "<TOPIC>. At the end of the record, I will ask you to retrieve the first topic. Now the record start. "
            + string.Concat(topics.Take(size).Select(topic => WriteConversation(topic, random)))
            + "Now the record ends. What is the first topic we discussed? Only give me the topic name. Do not summarize yourself.\n "
            + "ASSISTANT: The first topic we discussed is";
        return new(prompt, $" {topics[0]}", 0, [.. topics.Take(CandidateCount).Select(t => $" {t}")]);
    }

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated)
    {
        static string Simplify(string text) =>
            string.Join(
                ' ',
                text.ToLowerInvariant()
                    .Split(Array.FindAll([.. text.Distinct()], c => !char.IsLetterOrDigit(c)), StringSplitOptions.RemoveEmptyEntries)
            );
        return Simplify(question.Answer) is { Length: > 0 } topic && Simplify(generated).Contains(topic, StringComparison.Ordinal);
    }

    private static string WriteConversation(string topic, PythonRandom random)
    {
        var text =
            $"USER: I would like to discuss the topic of {topic}. \n ASSISTANT: Sure, I'd be happy to talk about that with you! "
            + "What specifically would you like to know? \n ";
        for (var turn = 0; turn < TurnsInTopic; turn++)
            text +=
                $"USER: {random.Choose(EvaluationWords.Questions)} \n ASSISTANT: {random.Choose(EvaluationWords.Answers)} "
                + $"{random.Choose(EvaluationWords.Answers)} \n ";
        return text + $"USER: Great, this is the end of our discussion on {topic}. Let's talk about the next topic. ";
    }
}
