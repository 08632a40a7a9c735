using System.Text;

namespace LongLora.Evaluation;

/// <summary>
/// RULER's synthetic tasks (arXiv 2404.06654), with its wording and scoring: the share of the expected answers in what the model writes,
/// ignoring case. Documents are generated here (with Python's generator and our own word lists), so scores are comparable with RULER's but
/// not identical.
/// </summary>
internal abstract class RulerTask : RetrievalTask
{
    /// <summary>All tasks in RULER's order.</summary>
    /// <param name="book">Sentences of the text that hides the needles of the essay tasks; null for generated sentences.</param>
    public static IReadOnlyList<RulerTask> CreateAll(IReadOnlyList<string>? book = null) =>
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
    /// Inserts pieces into a list at random positions, keeping the order of both.
    /// </summary>
    private protected static void Insert(List<string> list, IReadOnlyList<string> pieces, PythonRandom random)
    {
        var places = random.Sample(list.Count, pieces.Count);
        places.Sort();
        for (var i = 0; i < pieces.Count; i++)
            list.Insert(places[i] + i, pieces[i]);
    }
}

/// <summary>Draws different words for documents.</summary>
internal static class RulerWords
{
    private static readonly string[] s_words = [.. EvaluationWords.Adjectives.Concat(EvaluationWords.Nouns).Distinct()];

    // After all single words are used, two are joined.
    internal static List<string> Draw(PythonRandom random, int count)
    {
        var words = random.Sample(s_words.Length, Math.Min(count, s_words.Length)).ConvertAll(i => s_words[i]);
        var used = words.ToHashSet();
        while (words.Count < count)
        {
            var word = random.Choose(EvaluationWords.Adjectives) + random.Choose(EvaluationWords.Nouns);
            word = used.Contains(word) ? $"{word}{words.Count}" : word;
            used.Add(word);
            words.Add(word);
        }
        return words;
    }

    internal static string DrawKey(PythonRandom random) =>
        $"{random.Choose(EvaluationWords.Adjectives)}-{random.Choose(EvaluationWords.Nouns)}";

    internal static string DrawNumber(PythonRandom random) => $"{random.Between(1_000_000, 9_999_999)}";

    // Version 4: the 13th digit is 4, the 17th one of 8, 9, a, b.
    internal static string DrawUuid(PythonRandom random)
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
