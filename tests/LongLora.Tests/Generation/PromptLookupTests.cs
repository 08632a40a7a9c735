using LongLora.Checkpoints;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Tokenization;

namespace LongLora.Tests.Generation;

/// <summary>Guessed tokens against the same answers without guesses, and against the model's own probabilities.</summary>
public sealed class PromptLookupTests : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly ITokenizer _tokenizer;
    private readonly IReadOnlyList<int> _twice;

    public PromptLookupTests()
    {
        var path = SharedMaterial.Golden("stories260K-hf");
        var folder = CheckpointDirectory.Open(path);
        _model = ModelLoader.Load(folder.Config, folder);
        _tokenizer = TokenizerLoader.Load(path);
        const string story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
        _twice = _tokenizer.Encode($"{story} {story[..64]}", addSpecial: true);
    }

    public void Dispose() => _model.Dispose();

    [Theory]
    [InlineData("1 2 3 4 5 9 1 2 3 4", 3, "5 9 1")] // the longest end, of four
    [InlineData("7 8 1 2 3 5 6 9 1 2 3 4 8 1 2 3", 2, "5 6")] // an end of four, though one of three is nearer
    [InlineData("4 5 1 4 5 2 4 5", 1, "2")] // the last occurrence
    [InlineData("4 5 4 5", 8, "4 5")] // up to the end
    [InlineData("4 5 6 5", 8, "")] // one token is not enough
    [InlineData("4", 8, "")]
    [InlineData("", 8, "")]
    [InlineData("4 5 4 5", 0, "")]
    public void Guess_is_what_followed(string text, int most, string expected)
    {
        int[] ids = [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
        Assert.Equal(expected, string.Join(' ', PromptLookup.Guess(ids, most).ToArray()));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(8)]
    [InlineData(64)]
    public void Greedy_answer_equals_that_without_guesses(int most)
    {
        var options = new GenerationOptions { MaxTokens = 120, IgnoreEos = true };
        IReadOnlyList<int>[] prompts = [_twice, _tokenizer.Encode("The dog", addSpecial: true)];
        using var plain = new TextGenerator(_model, _tokenizer);
        using var guessing = new TextGenerator(_model, _tokenizer);
        var expected = plain.Generate(prompts, options);
        var seen = guessing.Generate(prompts, options with { LookupTokens = most });
        for (var i = 0; i < prompts.Length; i++)
        {
            Assert.Equal(expected[i].Tokens, seen[i].Tokens);
            Assert.Equal(expected[i].Text, seen[i].Text);
            Assert.Equal(0, expected[i].GuessedTokens);
        }
        Assert.InRange(seen[0].AcceptedTokens, 10, seen[0].GuessedTokens);
        TestContext.Current.TestOutputHelper?.WriteLine($"{seen[0].AcceptedTokens} of {seen[0].GuessedTokens} accepted");
        // What the cache holds afterwards is right: the conversation goes on from it.
        IReadOnlyList<int> longer = [.. _twice, .. expected[0].Tokens, .. _tokenizer.Encode("The dog", addSpecial: false)];
        Assert.Equal(
            plain.Generate([longer, prompts[1]], options)[0].Tokens,
            guessing.Generate([longer, prompts[1]], options with { LookupTokens = most })[0].Tokens
        );
    }

    [Fact]
    public void Drawn_answers_equal_those_without_guesses_for_the_same_seeds()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        var (guessed, accepted) = (0, 0);
        for (var seed = 0; seed < 40; seed++)
        {
            var options = new GenerationOptions
            {
                MaxTokens = 24,
                Temperature = 0.8,
                TopP = 0.95,
                RepetitionPenalty = 1.05,
                TopLogProbabilities = 2,
                Stop = ["park"],
                Seed = seed,
            };
            var expected = generator.Generate([_twice], options)[0];
            var seen = generator.Generate([_twice], options with { LookupTokens = 6 })[0];
            Assert.Equal(expected.Tokens, seen.Tokens);
            Assert.Equal(expected.Text, seen.Text);
            Assert.Equal(expected.Finish, seen.Finish);
            for (var i = 0; i < expected.Tokens.Count; i++)
                Assert.Equal(expected.LogProbabilities![i].LogProbability, seen.LogProbabilities![i].LogProbability, 1e-4);
            (guessed, accepted) = (guessed + seen.GuessedTokens, accepted + seen.AcceptedTokens);
        }
        Assert.True(accepted > 40 && accepted < guessed, $"{accepted} of {guessed} guesses accepted");
    }

    // Three tokens of a vocabulary that top-k cuts to three: 27 answers, whose probabilities follow from 13 plain passes.
    [Fact]
    public void Drawn_answers_have_the_probabilities_of_the_model()
    {
        const int draws = 400;
        using var generator = new TextGenerator(_model, _tokenizer);
        var exact = Enumerate(generator, [], 1, 3).ToDictionary(e => string.Join(' ', e.Answer), e => e.Probability);
        var made = generator.Generate(
            [.. Enumerable.Repeat(_twice, draws)],
            new GenerationOptions
            {
                MaxTokens = 3,
                Temperature = 1.5,
                TopK = 3,
                IgnoreEos = true,
                Seed = 11,
                LookupTokens = 4,
            }
        );
        var seen = made.CountBy(r => string.Join(' ', r.Tokens)).ToDictionary();
        Assert.Superset(seen.Keys.ToHashSet(), exact.Keys.ToHashSet());
        var (accepted, guessed) = (made.Sum(r => r.AcceptedTokens), made.Sum(r => r.GuessedTokens));
        Assert.True(accepted > draws / 10 && accepted < guessed, $"{accepted} of {guessed} guesses accepted");
        // Chi-square; rare answers as one.
        var common = exact.Where(e => e.Value * draws >= 5).ToList();
        double Part(double expected, double count) => (count - expected) * (count - expected) / expected;
        var statistic = common.Sum(e => Part(e.Value * draws, seen.GetValueOrDefault(e.Key)));
        var rare = 1 - common.Sum(e => e.Value);
        if (rare * draws >= 1)
            statistic += Part(rare * draws, draws - common.Sum(e => seen.GetValueOrDefault(e.Key)));
        // Wilson and Hilferty's bound for one in a thousand.
        double freedom = common.Count;
        var bound = freedom * Math.Pow(1 - 2 / (9 * freedom) + 3.09 * Math.Sqrt(2 / (9 * freedom)), 3);
        Assert.True(statistic < bound, $"chi-square {statistic:F1} of {common.Count} answers, bound {bound:F1}");
    }

    private IEnumerable<(int[] Answer, double Probability)> Enumerate(TextGenerator generator, int[] start, double probability, int left)
    {
        if (left == 0)
        {
            yield return (start, probability);
            yield break;
        }
        var next = generator
            .Generate(
                [
                    [.. _twice, .. start],
                ],
                new GenerationOptions
                {
                    MaxTokens = 1,
                    TopLogProbabilities = 3,
                    IgnoreEos = true,
                }
            )[0]
            .LogProbabilities![0]
            .Likeliest;
        double[] weights = [.. next.Select(t => Math.Exp(t.LogProbability / 1.5))];
        for (var i = 0; i < 3; i++)
        {
            foreach (var rest in Enumerate(generator, [.. start, next[i].Token], probability * weights[i] / weights.Sum(), left - 1))
                yield return rest;
        }
    }

    [Fact]
    public void Guesses_that_cannot_be_taken_back_are_refused()
    {
        var options = new GenerationOptions { MaxTokens = 4, LookupTokens = 4 };
        using var streaming = new TextGenerator(_model, _tokenizer, streaming: new StreamingOptions { SinkTokens = 2, Window = 16 });
        var refused = Assert.Throws<ConfigurationException>(() => streaming.Generate([_twice], options));
        Assert.Contains("a streamed text", refused.Message, StringComparison.Ordinal);
        using var scratch = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(FamilyContractTests.Locate(scratch, "qwen3_5"));
        using var recurrent = ModelLoader.Load(folder.Config, folder);
        using var generator = new TextGenerator(recurrent, _tokenizer);
        refused = Assert.Throws<ConfigurationException>(() =>
            generator.Generate(
                [
                    [1, 2, 3],
                ],
                options
            )
        );
        Assert.Contains("recurrent", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ConfigurationException>(() => (options with { LookupTokens = -1 }).Validate());
    }
}
