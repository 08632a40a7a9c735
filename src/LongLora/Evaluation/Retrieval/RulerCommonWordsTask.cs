namespace LongLora.Evaluation;

/// <summary>RULER's common words: ten words occur more often than the others. The size is the number of other words.</summary>
/// <param name="isShort">Whether words occur 6 times and once, RULER's form below 4,096 tokens; otherwise 30 and 3 times.</param>
internal sealed class RulerCommonWordsTask(bool isShort = false) : RulerTask
{
    private const int Wanted = 10,
        LeastOfLong = 4096;

    /// <inheritdoc/>
    public override string Name => "cwe";

    /// <inheritdoc/>
    public override int AnswerTokens => 120;

    /// <inheritdoc/>
    public override string Unit => "rare words";

    /// <inheritdoc/>
    public override int SmallestSize => 4;

    /// <inheritdoc/>
    public override RetrievalTask ForLength(int length) => new RulerCommonWordsTask(length < LeastOfLong);

    /// <inheritdoc/>
    public override RetrievalCase Make(int seed, int size)
    {
        var random = new PythonRandom(seed);
        var (example, exampleWords) = WriteQuestion(random, isShort ? 10 : 30, isShort ? 3 : 10, isShort ? 1 : 3);
        var (question, words) = WriteQuestion(random, size, isShort ? 6 : 30, isShort ? 1 : 3);
        var answer = NumberWords(words);
        return new($"{example} {NumberWords(exampleWords)}\n{question}", $" {answer}", 0.5, []) { References = words };
    }

    private static (string Prompt, List<string> Words) WriteQuestion(PythonRandom random, int others, int often, int seldom)
    {
        var words = RulerWords.Draw(random, Wanted + others);
        var list = words.SelectMany((word, i) => Enumerable.Repeat(word, i < Wanted ? often : seldom)).ToList();
        random.Shuffle(list);
        var prompt =
            "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear "
            + $"most often.\n{NumberWords(list)}\nQuestion: What are the 10 most common words in the above list? Answer: The top 10 "
            + "words that appear most often in the list are:";
        return (prompt, words[..Wanted]);
    }

    private static string NumberWords(List<string> words) => string.Join(' ', words.Select((word, i) => $"{i + 1}. {word}"));
}
