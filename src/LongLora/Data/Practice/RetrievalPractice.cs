using System.Text;

namespace LongLora.Data;

/// <summary>
/// Generated documents from which a model learns to find and repeat distant text. Contents, depths and lengths are random, so every answer
/// has to be looked up. They are dense (mostly repetition, with many facts and many questions), because one lookup in a hundred tokens of
/// other text teaches little.
/// </summary>
/// <param name="random">Source of all random numbers. The same sequence gives the same documents on every machine.</param>
internal sealed class RetrievalPractice(SplitMix64 random)
{
    private static readonly string[] s_garbage =
    [
        "The grass is green.",
        "The sky is blue.",
        "The sun is yellow.",
        "Here we go.",
        "There and back again.",
    ];

    private static readonly string[] s_relations =
    [
        "number",
        "secret",
        "code",
        "colour",
        "animal",
        "password",
        "address",
        "favourite word",
        "birthday",
        "ticket",
        "key",
        "answer",
    ];

    /// <summary>One document.</summary>
    /// <param name="kind">The kind of practice.</param>
    /// <param name="characters">Approximate length; if it is too small for the kind, the smallest document.</param>
    public string Write(PracticeKind kind, int characters) =>
        kind switch
        {
            PracticeKind.Repetition => WriteRepetition(characters),
            PracticeKind.Facts => WriteFacts(characters),
            PracticeKind.PassKey => WritePassKey(characters),
            PracticeKind.Lines => WriteLines(characters),
            PracticeKind.Topics => WriteTopics(characters),
            PracticeKind.Conversations => WriteConversations(characters),
            _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, null),
        };

    private string WriteRepetition(int characters)
    {
        var style = random.Below(4);
        string Item() =>
            style switch
            {
                0 => PracticeWords.PickNumber(random),
                1 => PracticeWords.InventWord(random),
                2 => random.Below(2) == 0 ? PracticeWords.PickNoun(random) : PracticeWords.PickAdjective(random),
                _ => PracticeWords.MakeValue(random),
            };
        var times = random.Between(2, 4);
        var segment = new StringBuilder();
        do segment.Append(segment.Length > 0 ? " " : "").Append(Item());
        while (segment.Length + 8 < characters / times);
        var between = random.Pick<string>([" ", ". ", "\n", ", ", " and "]);
        return string.Join(between, Enumerable.Repeat(segment.ToString(), times));
    }

    private string WriteFacts(int characters)
    {
        var relation = random.Pick(s_relations);
        var style = random.Below(4);
        var facts = new List<(string Statement, string Question)>();
        var used = new HashSet<string>();
        var length = 0;
        while (facts.Count < 2 || length < characters)
        {
            var (name, value) = (PracticeWords.MakeName(random), PracticeWords.MakeValue(random));
            if (!used.Add(name))
                continue;
            facts.Add(
                style switch
                {
                    0 => (
                        $"The {relation} of {name} is {value}.",
                        $"What is the {relation} of {name}? The {relation} of {name} is {value}."
                    ),
                    1 => ($"{name}: {value}", $"{name}: {value}"),
                    2 => ($"{name} has the {relation} {value}.", $"Which {relation} has {name}? {name} has the {relation} {value}."),
                    _ => ($"{name} = {value};", $"{name} = {value};"),
                }
            );
            length += facts[^1].Statement.Length + facts[^1].Question.Length + 2;
        }
        var between = style is 1 or 3 ? "\n" : " ";
        var statements = string.Join(between, facts.Select(f => f.Statement));
        var questions = facts.Select(f => f.Question).ToArray();
        random.Shuffle<string>(questions);
        return statements + "\n" + string.Join(between, questions);
    }

    private string WritePassKey(int characters)
    {
        var key = PracticeWords.PickNumber(random);
        var text = new StringBuilder();
        if (characters > 400 || random.Below(2) == 0)
            text.Append(
                "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you about "
                    + "the important information there.\n"
            );
        var garbage = Math.Max(0, characters - text.Length - 130);
        var before = random.Below(garbage + 1);
        text.Append(WriteFiller(before))
            .Append("\nThe pass key is ")
            .Append(key)
            .Append(". Remember it. ")
            .Append(key)
            .Append(" is the pass key.\n")
            .Append(WriteFiller(garbage - before))
            .Append("\nWhat is the pass key? The pass key is ")
            .Append(key);
        return text.ToString();
    }

    // Cut off anywhere, as in the published prompts.
    private static string WriteFiller(int characters)
    {
        var text = new StringBuilder();
        for (var i = 0; text.Length < characters; i++)
            text.Append(i > 0 ? " " : "").Append(s_garbage[i % s_garbage.Length]);
        return text.ToString(0, characters);
    }

    private string WriteLines(int characters)
    {
        var text = new StringBuilder();
        if (characters > 700 || random.Below(4) == 0)
            text.Append(
                "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and contains a "
                    + "'<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line index, memorize its "
                    + "corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve the corresponding "
                    + "<REGISTER_CONTENT> of a certain line index. Now the record start:\n\n"
            );
        var lines = new List<(string Index, string Number)>();
        var questions = random.Between(1, 4);
        for (var room = characters - text.Length - questions * 140; lines.Count < 2 || room > 0; room -= 52)
            lines.Add(($"{PracticeWords.PickAdjective(random)}-{PracticeWords.PickNoun(random)}", PracticeWords.PickNumber(random)));
        lines = [.. lines.DistinctBy(l => l.Index)];
        foreach (var (index, number) in lines)
            text.Append("line ").Append(index).Append(": REGISTER_CONTENT is <").Append(number).Append(">\n");
        text.Append("\nNow the record is over.");
        for (var i = 0; i < questions; i++)
        {
            var (index, number) = random.Pick(lines);
            text.Append(" Tell me what is the <REGISTER_CONTENT> in line ")
                .Append(index)
                .Append("? I need the number. The <REGISTER_CONTENT> in line ")
                .Append(index)
                .Append(" is <")
                .Append(number)
                .Append(">.");
        }
        return text.ToString();
    }

    private string WriteTopics(int characters)
    {
        var topics = new List<string>();
        var body = new StringBuilder();
        while (topics.Count < 2 || body.Length < characters - 530)
        {
            var topic = PracticeWords.PickTopic(random);
            if (topics.Contains(topic))
                continue;
            topics.Add(topic);
            body.Append(" USER: I would like to discuss the topic of ")
                .Append(topic)
                .Append(". \n ASSISTANT: Sure, ")
                .Append(WriteReply(topic))
                .Append(" \n");
        }
        var text = new StringBuilder(characters > 500 || random.Below(2) == 0 ? WriteIntroduction(topics.Count) : "");
        text.Append("Now the record start.")
            .Append(body)
            .Append(
                " USER: Now the record ends. What is the first topic we discussed? Only give me the topic name. Do not summarize yourself."
            );
        return text.Append(" \n ASSISTANT: ").Append(topics[0]).ToString();
    }

    private string WriteConversations(int characters)
    {
        var topics = new List<string>();
        var body = new StringBuilder();
        while (topics.Count < 1 || body.Length < characters - 700)
        {
            var topic = PracticeWords.PickTopic(random);
            topics.Add(topic);
            body.Append(" USER: I would like to discuss the topic of ")
                .Append(topic)
                .Append(". \n ASSISTANT: Sure, ")
                .Append(WriteReply(topic))
                .Append(" \n ");
            for (var turns = random.Below(5); turns > 0 && body.Length < characters - 800; turns--)
                body.Append("USER: ")
                    .Append(WriteQuestion())
                    .Append(" \n ASSISTANT: ")
                    .Append(WriteStatement())
                    .Append(' ')
                    .Append(WriteStatement())
                    .Append(" \n ");
            body.Append("USER: Great, this is the end of our discussion on ").Append(topic).Append(". Let's talk about the next topic.");
        }
        var text = new StringBuilder(characters > 700 || random.Below(2) == 0 ? WriteIntroduction(topics.Count) : "");
        text.Append("Now the record start.")
            .Append(body)
            .Append(
                " Now the record ends. What is the first topic we discussed? Only give me the topic name. Do not summarize yourself.\n "
                    + "ASSISTANT: "
            );
        return text.Append("The first topic we discussed is ").Append(topics[0]).Append('.').ToString();
    }

    private static string WriteIntroduction(int topics) =>
        $"Below is a record of our previous conversation on {topics} different topics. You are the ASSISTANT, and I am the USER. "
        + "At the beginning of each topic, the USER will say 'I would like to discuss the topic of <TOPIC>'. Memorize each <TOPIC>. "
        + "At the end of the record, I will ask you to retrieve the first topic. ";

    private string WriteQuestion() =>
        random.Below(4) switch
        {
            0 => $"Is it like a {PracticeWords.PickAdjective(random)} {PracticeWords.PickNoun(random)}?",
            1 => $"What does it do to a {PracticeWords.PickNoun(random)}?",
            2 => "How did it begin?",
            _ => $"Why is it {PracticeWords.PickAdjective(random)}?",
        };

    private string WriteStatement() =>
        random.Below(4) switch
        {
            0 => $"It is more like a {PracticeWords.PickNoun(random)} than a {PracticeWords.PickNoun(random)}.",
            1 => $"Some say that it is {PracticeWords.PickAdjective(random)}, others that it is {PracticeWords.PickAdjective(random)}.",
            2 => $"It began with a {PracticeWords.PickAdjective(random)} {PracticeWords.PickNoun(random)} "
                + $"some {random.Between(2, 90)} years ago.",
            _ => $"A {PracticeWords.PickNoun(random)} shows it well.",
        };

    private string WriteReply(string topic) =>
        random.Below(5) switch
        {
            0 => "I'd be happy to talk about that with you.",
            1 => $"what would you like to know about {topic}?",
            2 => $"{topic} is a {PracticeWords.PickAdjective(random)} subject.",
            3 => $"it makes me think of a {PracticeWords.PickAdjective(random)} {PracticeWords.PickNoun(random)}.",
            _ => "that is interesting. Let's talk about it.",
        };
}
