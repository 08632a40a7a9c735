namespace LongLora.Evaluation;

/// <summary>
/// RULER's frequent words: made-up words with frequencies by Zipf's law with exponent 2. The answer is the three most frequent. The size is
/// the number of words.
/// </summary>
internal sealed class RulerFrequentWordsTask : RulerTask
{
    private const double Zeta2 = Math.PI * Math.PI / 6;

    /// <inheritdoc/>
    public override string Name => "fwe";

    /// <inheritdoc/>
    public override int AnswerTokens => 50;

    /// <inheritdoc/>
    public override string Unit => "words";

    /// <inheritdoc/>
    public override int SmallestSize => 53; // from here on rank 4 is more frequent than rank 5

    /// <summary>How often the word of a rank occurs in a text: floor(words · rank^-2 / zeta(2)).</summary>
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
            "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared "
            + $"coded words. {string.Join(' ', text)}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What "
            + "are the three most frequently appeared words in the above coded text? Answer: According to the coded text above, the "
            + "three most frequently appeared words are:";
        var wanted = ranked.GetRange(1, 3);
        return new(prompt, $" {string.Join(' ', wanted)}", 0.5, []) { References = wanted };
    }
}
