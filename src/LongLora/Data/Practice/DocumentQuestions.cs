namespace LongLora.Data;

/// <summary>
/// Makes questions about long documents with answers that are known to be right. It puts facts about invented names between paragraphs of
/// running text, and asks for some of them at the end. Which facts, and in which order, is random, so an answer has to be looked up in the
/// whole document.
/// </summary>
/// <param name="random">Source of all random numbers. The same sequence gives the same questions on every machine.</param>
/// <param name="texts">Running text, one paragraph per line.</param>
/// <param name="mostAsked">The most facts that one question asks for.</param>
internal sealed class DocumentQuestions(SplitMix64 random, IReadOnlyList<string> texts, int mostAsked)
{
    private const int MostFacts = 4;
    private const int ShortestPassage = 600,
        LongestPassage = 3000;

    private static readonly string[] s_relations = ["number", "secret", "code", "password", "ticket", "key"];

    /// <summary>One question.</summary>
    /// <param name="characters">Approximate length of the running text, without facts and question.</param>
    public DocumentQuestion Write(int characters)
    {
        var paragraphs = MakeParagraphs(characters);
        var relation = random.Pick(s_relations);
        var facts = MakeFacts(random.Between(1, MostFacts), relation);
        foreach (var (_, statement) in facts)
            paragraphs.Insert(random.Below(paragraphs.Count + 1), statement);
        random.Shuffle<(string Name, string Statement)>(facts);
        var asked = facts[..random.Between(1, Math.Min(mostAsked, facts.Length))];
        var names = string.Join(
            " and ",
            ((string[])[string.Join(", ", asked[..^1].Select(f => f.Name)), asked[^1].Name]).Where(n => n.Length > 0)
        );
        return new DocumentQuestion(
            $"Below is a document. Read it, and answer my question after it.\n{string.Join('\n', paragraphs)}\nNow the document "
                + $"ends.\nWhat is the {relation} of {names}?",
            "",
            string.Join(' ', asked.Select(f => f.Statement))
        );
    }

    private (string Name, string Statement)[] MakeFacts(int count, string relation)
    {
        var facts = new Dictionary<string, string>(StringComparer.Ordinal);
        while (facts.Count < count)
        {
            var name = PracticeWords.MakeName(random);
            facts[name] = $"The {relation} of {name} is {PracticeWords.PickNumber(random)}.";
        }
        return [.. facts.Select(f => (f.Key, f.Value))];
    }

    // Passages of the texts, one after the other, until there is enough text.
    private List<string> MakeParagraphs(int characters)
    {
        var paragraphs = new List<string>();
        var length = 0;
        while (length < characters)
        {
            var text = random.Pick(texts);
            var start = random.Below(text.Length);
            var stretch = text.AsSpan(start, Math.Min(text.Length - start, random.Between(ShortestPassage, LongestPassage)));
            foreach (var line in stretch.EnumerateLines())
            {
                if (line.IsWhiteSpace() || length >= characters)
                    continue;
                paragraphs.Add(line.ToString());
                length += line.Length + 1;
            }
        }
        return paragraphs;
    }
}
