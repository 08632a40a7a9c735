namespace LongLora.Evaluation;

/// <summary>
/// RULER's variable tracking: a chain of assignments in noise. The answer is every name in it. The size is the number of noise lines.
/// </summary>
internal sealed class RulerVariableTask : RulerTask
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
        var (example, exampleNames, _) = WriteQuestion(random, ExampleNoise, 3, "12345");
        var (question, names, depth) = WriteQuestion(random, size, 5, $"{random.Between(10000, 99999)}");
        return new($"{example}{string.Join(' ', exampleNames)}\n\n{question}", string.Join(' ', names), depth, []) { References = names };
    }

    private static (string Prompt, List<string> Names, double Depth) WriteQuestion(
        PythonRandom random,
        int noise,
        int letters,
        string value
    )
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
