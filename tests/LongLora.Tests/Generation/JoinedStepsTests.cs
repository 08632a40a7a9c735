using LongLora.Generation;
using LongLora.Layers;
using LongLora.Runtime;

namespace LongLora.Tests.Generation;

/// <summary>Answers that share their passes against each one alone.</summary>
public sealed class JoinedStepsTests
{
    private static readonly ChatModelOptions s_stories = new()
    {
        Model = SharedMaterial.Golden("stories260K-hf"),
        Template = null,
        Device = "cpu",
    };
    private static readonly string[] s_prompts =
    [
        "Once upon a time",
        "The dog",
        "Lily and Tom went to the park. They saw a big tree and wanted to",
        "One day, a girl named Sue",
        "There was a cat who liked",
        "In a small house by the sea lived",
    ];

    private static GenerationOptions Options(int number, int lookup = 0) =>
        new()
        {
            MaxTokens = 60 + 10 * number,
            Temperature = number % 2 == 0 ? 0 : 0.9,
            Seed = number,
            TopLogProbabilities = 3,
            IgnoreEos = true,
            LookupTokens = lookup,
        };

    private static async Task<GenerationResult[]> Together(ChatModel model, int lookup = 0) =>
        await Task.WhenAll(s_prompts.Select((prompt, i) => Task.Run(() => model.CompleteAsync(prompt, Options(i, lookup)).WholeAsync())));

    private static async Task<GenerationResult[]> Alone()
    {
        using var model = ChatModel.Open(s_stories with { KeptConversations = s_prompts.Length });
        var results = new GenerationResult[s_prompts.Length];
        for (var i = 0; i < results.Length; i++)
            results[i] = await model.CompleteAsync(s_prompts[i], Options(i)).WholeAsync();
        Assert.Equal(0, model.MostTogether);
        return results;
    }

    [Theory]
    [InlineData(4)]
    [InlineData(6)]
    public async Task Answers_together_equal_each_alone(int parallel)
    {
        var expected = await Alone();
        using var model = ChatModel.Open(s_stories with { ParallelAnswers = parallel });
        for (var round = 0; round < 2; round++)
        {
            var seen = await Together(model);
            var largest = 0.0;
            for (var i = 0; i < seen.Length; i++)
            {
                Assert.Equal(expected[i].Tokens, seen[i].Tokens);
                Assert.Equal(expected[i].Text, seen[i].Text);
                largest = Enumerable
                    .Range(0, seen[i].Tokens.Count)
                    .Select(t => Math.Abs(expected[i].LogProbabilities![t].LogProbability - seen[i].LogProbabilities![t].LogProbability))
                    .Append(largest)
                    .Max();
            }
            TestContext.Current.TestOutputHelper?.WriteLine($"largest difference of a log-probability: {largest:E1}");
            Assert.InRange(largest, 0, 1e-4);
        }
        Assert.InRange(model.MostTogether, 2, parallel);
    }

    [Fact]
    public async Task More_answers_than_share_a_pass_take_turns()
    {
        const int count = RowProduct.MostRows + 6;
        GenerationOptions Short(int number) => Options(number) with { MaxTokens = 20 };
        string Prompt(int number) => $"{s_prompts[number % s_prompts.Length]} {number}";
        using var alone = ChatModel.Open(s_stories);
        using var together = ChatModel.Open(s_stories with { ParallelAnswers = count });
        var all = Enumerable.Range(0, count).Select(i => Task.Run(() => together.CompleteAsync(Prompt(i), Short(i)).WholeAsync())).ToList();
        var seen = await Task.WhenAll(all);
        for (var i = 0; i < count; i++)
            Assert.Equal((await alone.CompleteAsync(Prompt(i), Short(i)).WholeAsync()).Tokens, seen[i].Tokens);
        Assert.InRange(together.MostTogether, 2, RowProduct.MostRows);
    }

    [Fact]
    public async Task Answers_with_guesses_go_on_beside_others()
    {
        var expected = await Alone();
        using var model = ChatModel.Open(s_stories with { ParallelAnswers = 4 });
        var seen = await Together(model, lookup: 3);
        Assert.Equal(expected.Select(r => r.Tokens), seen.Select(r => r.Tokens));
        Assert.True(seen.Sum(r => r.AcceptedTokens) > 0);
    }

    [Fact]
    public async Task Answers_that_leave_or_fail_do_not_hold_up_the_others()
    {
        var expected = await Alone();
        using var model = ChatModel.Open(s_stories with { ParallelAnswers = 4 });
        var all = Together(model);
        for (var i = 0; i < 4; i++)
        {
            await foreach (var _ in model.CompleteAsync("The dog", Options(5)))
                break; // the reader leaves after the first piece
            await Assert.ThrowsAsync<DataException>(() =>
                model.CompleteAsync(string.Concat(Enumerable.Repeat("The dog ran. ", 400)), Options(0)).WholeAsync()
            );
            Assert.Equal(model.EmbeddingSize, (await model.EmbedTokensAsync([1, 5, 9], TestContext.Current.CancellationToken)).Length);
        }
        Assert.Equal(expected.Select(r => r.Tokens), (await all).Select(r => r.Tokens));
    }

    [Fact]
    public async Task Dispose_ends_all_answers()
    {
        var model = ChatModel.Open(s_stories with { ParallelAnswers = 3 });
        var all = s_prompts
            .Select(prompt => Task.Run(() => model.CompleteAsync(prompt, Options(0) with { MaxTokens = 500 }).WholeAsync()))
            .ToList();
        await Task.Delay(30, TestContext.Current.CancellationToken);
        model.Dispose();
        foreach (var answer in all)
        {
            var ended = await Record.ExceptionAsync(() => answer);
            Assert.True(ended is null or ObjectDisposedException, ended?.ToString());
        }
        Assert.Throws<ConfigurationException>(() => ChatModel.Open(s_stories with { ParallelAnswers = 0 }));
    }
}
