using System.Text.RegularExpressions;

namespace LongLora.Evaluation;

/// <summary>
/// RULER's needles in a haystack: sentences that assign magic numbers (or UUIDs) to keys. The question asks for one or more keys. The size
/// is the number of sentences, lines or needles in the haystack.
/// </summary>
/// <param name="name">RULER's name for the task.</param>
internal sealed partial class RulerNeedleTask(string name) : RulerTask
{
    private const int CandidateCount = 10,
        Depths = 40;

    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override int AnswerTokens => 128;

    /// <inheritdoc/>
    public override string Unit =>
        Haystack switch
        {
            RulerHaystack.Essay => "sentences",
            RulerHaystack.Noise => "lines of noise",
            _ => "needles",
        };

    /// <inheritdoc/>
    public override int SmallestSize => Keys * Values;

    /// <summary>What hides the needles. Default essay.</summary>
    public RulerHaystack Haystack { get; init; }

    /// <summary>
    /// Sentences of the essay; null for generated sentences. It starts at a random sentence and wraps around at the end.
    /// </summary>
    public IReadOnlyList<string>? Book { get; init; }

    /// <summary>Keys with needles. Default 1.</summary>
    public int Keys { get; init; } = 1;

    /// <summary>Needles of each key. Default 1.</summary>
    public int Values { get; init; } = 1;

    /// <summary>Keys that are asked for. Default 1.</summary>
    public int Queries { get; init; } = 1;

    /// <summary>Whether keys are UUIDs instead of two words.</summary>
    public bool HasUuidKeys { get; init; }

    /// <summary>Whether values are UUIDs instead of numbers of seven digits.</summary>
    public bool HasUuidValues { get; init; }

    /// <summary>The sentences of a text, with white space normalized.</summary>
    public static IReadOnlyList<string> SplitSentences(string text) =>
        [.. SentenceEnd().Split(WhiteSpace().Replace(text, " ").Trim()).Where(s => s.Length > 0)];

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var keys = new List<string>();
        while (keys.Count < Keys)
        {
            var key = DrawKey(random);
            if (!keys.Contains(key))
                keys.Add(key);
        }
        var values = keys.ConvertAll(_ => Enumerable.Range(0, Values).Select(_ => DrawValue(random)).ToList());
        var needles = keys.SelectMany((key, i) => values[i].Select(value => WriteNeedle(key, value))).ToList();
        var first = needles[0];
        random.Shuffle(needles);
        var (text, depth) = Hide(random, needles, first, keys, size);
        var answers = values.Take(Queries).SelectMany(v => v).ToList();
        return new(
            WritePrompt(keys.Take(Queries).ToList(), text, answers.Count == 1),
            $" {string.Join(", ", answers)}",
            depth,
            DrawCandidates(random, answers)
        )
        {
            References = answers,
        };
    }

    private string Kind => HasUuidValues ? "uuids" : "numbers";

    private string DrawKey(PythonRandom random) => HasUuidKeys ? RulerWords.DrawUuid(random) : RulerWords.DrawKey(random);

    private string DrawValue(PythonRandom random) => HasUuidValues ? RulerWords.DrawUuid(random) : RulerWords.DrawNumber(random);

    private string WriteNeedle(string key, string value) => $"One of the special magic {Kind} for {key} is: {value}.";

    private string WritePrompt(List<string> keys, string text, bool isOne)
    {
        var asked = keys.Count == 1 ? keys[0] : $"{string.Join(", ", keys[..^1])}, and {keys[^1]}";
        return isOne
            ? $"A special magic {Kind[..^1]} is hidden within the following text. Make sure to memorize it. I will quiz you about the "
                + $"{Kind[..^1]} afterwards.\n{text}\n"
                + $"What is the special magic {Kind[..^1]} for {asked} mentioned in the provided text? The special magic {Kind[..^1]} "
                + $"for {asked} mentioned in the provided text is"
            : $"Some special magic {Kind} are hidden within the following text. Make sure to memorize it. I will quiz you about the "
                + $"{Kind} afterwards.\n{text}\n"
                + $"What are all the special magic {Kind} for {asked} mentioned in the provided text? The special magic {Kind} for "
                + $"{asked} mentioned in the provided text are";
    }

    private (string Text, double Depth) Hide(PythonRandom random, List<string> needles, string first, List<string> keys, int size)
    {
        List<string> lines = Haystack switch
        {
            RulerHaystack.Noise => [.. Enumerable.Repeat(RulerHaystackText.NoiseLine, size)],
            RulerHaystack.Needles => [.. Enumerable.Range(0, size).Select(_ => WriteNeedle(DrawOther(random, keys), DrawValue(random)))],
            _ => WriteEssay(random, size),
        };
        if (Haystack == RulerHaystack.Essay)
        {
            // Depths in percent of the sentences, drawn from 40 evenly spaced ones.
            var places = random.Sample(Depths, needles.Count).ConvertAll(d => (int)(size * Math.Round(100.0 * d / (Depths - 1)) / 100));
            places.Sort();
            for (var i = 0; i < needles.Count; i++)
                lines.Insert(places[i] + i, needles[i]);
        }
        else
        {
            Insert(lines, needles, random);
        }
        return (
            string.Join(Haystack == RulerHaystack.Essay ? ' ' : '\n', lines),
            (double)lines.IndexOf(first) / Math.Max(1, lines.Count - 1)
        );
    }

    private string DrawOther(PythonRandom random, List<string> keys)
    {
        string key;
        do key = DrawKey(random);
        while (keys.Contains(key));
        return key;
    }

    private List<string> WriteEssay(PythonRandom random, int size)
    {
        if (Book is null)
            return [.. Enumerable.Range(0, size).Select(_ => RulerHaystackText.WriteSentence(random))];
        var start = random.Below(Book.Count);
        return [.. Enumerable.Range(0, size).Select(i => Book[(start + i) % Book.Count])];
    }

    // For models that cannot answer in words: nine others, drawn in the same way. With several answers there is no single most likely one.
    private List<string> DrawCandidates(PythonRandom random, List<string> answers) =>
        answers.Count > 1 ? [] : [$" {answers[0]}", .. Enumerable.Range(1, CandidateCount - 1).Select(_ => $" {DrawValue(random)}")];

    [GeneratedRegex(@"(?<=[.!?][""'”’)]?) (?=[""'“‘(]?[A-Z])")]
    private static partial Regex SentenceEnd();

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();
}

/// <summary>Text that hides needles.</summary>
internal static class RulerHaystackText
{
    internal const string NoiseLine = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

    // Plain prose without numbers: nothing in it looks like a needle.
    internal static string WriteSentence(PythonRandom random)
    {
        string A() => random.Choose(EvaluationWords.Adjectives);
        string N() => random.Choose(EvaluationWords.Nouns);
        return random.Below(8) switch
        {
            0 => $"The {A()} {N()} stood beside the {N()} for as long as anybody in the {N()} could remember.",
            1 => $"Nobody knew why the {N()} was so {A()}, but the {A()} {N()} seemed to have something to do with it.",
            2 => $"In the evening they carried the {N()} past the {A()} {N()} and spoke of the {random.Choose(EvaluationWords.Aspects)} "
                + $"of {random.Choose(EvaluationWords.Subjects)}.",
            3 => $"A {A()} {N()} is worth more than a {A()} one, as every {N()} maker will tell you.",
            4 => random.Choose(EvaluationWords.Answers),
            5 => $"She looked at the {A()} {N()} and thought of the {N()} that her father had brought from the {A()} {N()}.",
            6 => $"When the {N()} is {A()}, the {N()} is {A()} too, and there is little that one can do about either.",
            _ => $"He had read about the {random.Choose(EvaluationWords.Aspects)} of {random.Choose(EvaluationWords.Subjects)}, and "
                + $"found it {A()} and rather {A()}.",
        };
    }
}
