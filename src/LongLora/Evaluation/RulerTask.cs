using System.Text;

namespace LongLora.Evaluation;

/// <summary>
/// RULER's synthetic tasks (arXiv 2404.06654), in its words and with its scoring: the share of the wanted answers that stand in what the
/// model writes, case aside. Documents are drawn here (Python's generator, lists of words of our own), so that scores compare with
/// RULER's in kind, not to the digit.
/// </summary>
public abstract class RulerTask : RetrievalTask
{
    /// <summary>All tasks in RULER's order.</summary>
    /// <param name="book">Sentences of the text that hides the needles of the essay tasks; null for sentences made here.</param>
    public static IReadOnlyList<RulerTask> All(IReadOnlyList<string>? book = null) =>
        [
            new RulerNeedleTask("niah_single_1") { Haystack = RulerHaystack.Noise },
            new RulerNeedleTask("niah_single_2") { Book = book },
            new RulerNeedleTask("niah_single_3") { Book = book, HasUuidValues = true },
            new RulerNeedleTask("niah_multikey_1") { Book = book, Keys = 4 },
            new RulerNeedleTask("niah_multikey_2") { Haystack = RulerHaystack.Needles },
            new RulerNeedleTask("niah_multikey_3")
            {
                Haystack = RulerHaystack.Needles,
                HasUuidKeys = true,
                HasUuidValues = true,
            },
            new RulerNeedleTask("niah_multivalue") { Book = book, Values = 4 },
            new RulerNeedleTask("niah_multiquery")
            {
                Book = book,
                Keys = 4,
                Queries = 4,
            },
            new RulerVariableTask(),
            new RulerCommonWordsTask(),
            new RulerFrequentWordsTask(),
        ];

    /// <inheritdoc/>
    public override bool ReservesAnswer => true;

    /// <inheritdoc/>
    public override double Score(RetrievalCase question, string generated) =>
        question.References.Average(reference => generated.Contains(reference, StringComparison.OrdinalIgnoreCase) ? 1.0 : 0.0);

    /// <inheritdoc/>
    public override bool IsRight(RetrievalCase question, string generated) => Score(question, generated) == 1;

    /// <summary>
    /// Puts pieces between the elements of a list: piece i before the element that had the i-th of some random places, in order.
    /// </summary>
    private protected static void Insert(List<string> list, IReadOnlyList<string> pieces, PythonRandom random)
    {
        var places = random.Sample(list.Count, pieces.Count);
        places.Sort();
        for (var i = 0; i < pieces.Count; i++)
            list.Insert(places[i] + i, pieces[i]);
    }
}

/// <summary>
/// RULER's variable tracking: one chain of assignments in noise; every name of it is wanted. The size is the number of noise lines.
/// </summary>
public sealed class RulerVariableTask : RulerTask
{
    private const int Hops = 4,
        ExampleNoise = 5;

    /// <inheritdoc/>
    public override string Name => "vt";

    /// <inheritdoc/>
    public override int AnswerTokens => 30;

    /// <inheritdoc/>
    public override string Unit => "lines of noise";

    /// <inheritdoc/>
    public override int SmallestSize => Hops + 1;

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var (example, exampleNames, _) = Question(random, ExampleNoise, 3, "12345");
        var (question, names, depth) = Question(random, size, 5, $"{random.Between(10000, 99999)}");
        return new($"{example}{string.Join(' ', exampleNames)}\n\n{question}", string.Join(' ', names), depth, []) { References = names };
    }

    private static (string Prompt, List<string> Names, double Depth) Question(PythonRandom random, int noise, int letters, string value)
    {
        var names = new List<string>();
        while (names.Count <= Hops)
        {
            var name = string.Concat(Enumerable.Range(0, letters).Select(_ => (char)('A' + random.Below(26))));
            if (!names.Contains(name))
                names.Add(name);
        }
        var lines = Enumerable.Repeat(RulerHaystackText.NoiseLine, noise).ToList();
        List<string> chain =
        [
            $"VAR {names[0]} = {value}",
            .. Enumerable.Range(1, Hops).Select(i => $"VAR {names[i]} = VAR {names[i - 1]} "),
        ];
        Insert(lines, chain, random);
        var prompt =
            $"Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{string.Join('\n', lines)}\n"
            + $"Question: Find all variables that are assigned the value {value} in the text above."
            + $" Answer: According to the chain(s) of variable assignment in the text above, {Hops + 1} variables are assigned the "
            + $"value {value}, they are: ";
        return (prompt, names, (double)lines.IndexOf(chain[0]) / lines.Count);
    }
}

/// <summary>RULER's common words: ten words stand ten times as often as the others. The size is the number of other words.</summary>
public sealed class RulerCommonWordsTask : RulerTask
{
    private const int Wanted = 10;

    /// <inheritdoc/>
    public override string Name => "cwe";

    /// <inheritdoc/>
    public override int AnswerTokens => 120;

    /// <inheritdoc/>
    public override string Unit => "rare words";

    /// <inheritdoc/>
    public override int SmallestSize => 4;

    // RULER's short form, for texts below 4,096 tokens, has 6 and 1 times; a size of 300 is about there.
    private const int ShortSize = 300;

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var isShort = size < ShortSize;
        var (example, exampleWords) = Question(random, isShort ? 10 : 30, isShort ? 3 : 10, isShort ? 1 : 3);
        var (question, words) = Question(random, size, isShort ? 6 : 30, isShort ? 1 : 3);
        var answer = Numbered(words);
        return new($"{example} {Numbered(exampleWords)}\n{question}", $" {answer}", 0.5, []) { References = words };
    }

    private static (string Prompt, List<string> Words) Question(PythonRandom random, int others, int often, int seldom)
    {
        var words = RulerWords.Draw(random, Wanted + others);
        var list = words.SelectMany((word, i) => Enumerable.Repeat(word, i < Wanted ? often : seldom)).ToList();
        random.Shuffle(list);
        var prompt =
            "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most "
            + "often.\n"
            + $"{Numbered(list)}\nQuestion: What are the 10 most common words in the above list? Answer: The top 10 words that appear "
            + $"most often in the list are:";
        return (prompt, words[..Wanted]);
    }

    private static string Numbered(List<string> words) => string.Join(' ', words.Select((word, i) => $"{i + 1}. {word}"));
}

/// <summary>
/// RULER's frequent words: made-up words as often as Zipf's law with exponent 2 has it; the three most frequent are wanted. The size is
/// the number of words.
/// </summary>
public sealed class RulerFrequentWordsTask : RulerTask
{
    private const double Zeta2 = Math.PI * Math.PI / 6;

    /// <inheritdoc/>
    public override string Name => "fwe";

    /// <inheritdoc/>
    public override int AnswerTokens => 50;

    /// <inheritdoc/>
    public override string Unit => "words";

    /// <inheritdoc/>
    public override int SmallestSize => 40; // rank 4 comes once, rank 3 twice

    /// <summary>How often the word of a rank stands in a text: floor(words · rank^-2 / zeta(2)).</summary>
    /// <param name="words">Size of the text.</param>
    /// <param name="rank">From 1.</param>
    public static int Count(int words, int rank) => (int)(words / ((double)rank * rank) / Zeta2);

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var text = new List<string>();
        var ranked = new List<string>();
        for (var rank = 1; Count(size, rank) is > 0 and var count; rank++)
        {
            var word = rank == 1 ? "..." : string.Concat(Enumerable.Range(0, 6).Select(_ => (char)('a' + random.Below(26))));
            ranked.Add(word);
            text.AddRange(Enumerable.Repeat(word, count));
        }
        random.Shuffle(text);
        var prompt =
            $"Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded "
            + $"words. {string.Join(' ', text)}\n"
            + "Question: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently appeared "
            + "words in the above coded text?"
            + " Answer: According to the coded text above, the three most frequently appeared words are:";
        var wanted = ranked.GetRange(1, 3);
        return new(prompt, $" {string.Join(' ', wanted)}", 0.5, []) { References = wanted };
    }
}

/// <summary>Single words for documents, as many as asked for.</summary>
internal static class RulerWords
{
    private static readonly string[] s_words = [.. EvaluationWords.Adjectives.Concat(EvaluationWords.Nouns).Distinct()];

    // Past the single words two are joined.
    internal static List<string> Draw(PythonRandom random, int count)
    {
        var words = random.Sample(s_words.Length, Math.Min(count, s_words.Length)).ConvertAll(i => s_words[i]);
        var used = words.ToHashSet();
        while (words.Count < count)
        {
            var word = random.Choice(EvaluationWords.Adjectives) + random.Choice(EvaluationWords.Nouns);
            word = used.Contains(word) ? $"{word}{words.Count}" : word;
            used.Add(word);
            words.Add(word);
        }
        return words;
    }

    internal static string Key(PythonRandom random) =>
        $"{random.Choice(EvaluationWords.Adjectives)}-{random.Choice(EvaluationWords.Nouns)}";

    internal static string Number(PythonRandom random) => $"{random.Between(1_000_000, 9_999_999)}";

    // Version 4: the 13th digit is 4, the 17th one of 8, 9, a, b.
    internal static string Uuid(PythonRandom random)
    {
        var text = new StringBuilder();
        for (var i = 0; i < 32; i++)
        {
            if (i is 8 or 12 or 16 or 20)
                text.Append('-');
            text.Append(
                i == 12 ? '4'
                : i == 16 ? "89ab"[random.Below(4)]
                : "0123456789abcdef"[random.Below(16)]
            );
        }
        return text.ToString();
    }
}
