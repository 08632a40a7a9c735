using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tests.Training;
using LongLora.Tokenization;

namespace LongLora.Tests.Evaluation;

public class StreamingPerplexityTests
{
    private static TokenStore Numbers(int count) =>
        TokenStore.Build(new FineTuneGoldenTests.MemorySource([.. Enumerable.Range(0, count).Select(i => i * i * 7 % 500 + 3)]), null);

    [Fact]
    public void Evaluate_of_a_text_that_fits_equals_its_perplexity()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var tokens = Numbers(300);
        var whole = Perplexity.Evaluate(model, tokens, 301, PerplexityProtocol.Document, 100);
        foreach (var stretch in new[] { 1000L, 70 })
        {
            var streamed = StreamingPerplexity.Evaluate(model, tokens, new StreamingOptions { SinkTokens = 4, Window = 296 }, stretch);
            var full = StreamingPerplexity.EvaluateFull(model, tokens, stretch);
            foreach (var found in new[] { streamed, full })
            {
                Assert.Equal(whole.Tokens, found.Sum(s => s.Tokens));
                Assert.Equal(whole.Loss, found.Sum(s => s.Loss * s.Tokens) / whole.Tokens, 1e-5);
                Assert.Equal(found.Select((_, i) => 1 + i * stretch), found.Select(s => s.Start));
            }
        }
    }

    [Fact]
    public void Evaluate_stays_flat_over_twenty_windows_where_full_attention_explodes()
    {
        var text = SharedMaterial.Shared("data", "tinystories", "niklas6.txt");
        var path = SharedMaterial.Golden("stories260K-hf");
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder); // 512 tokens of context
        using var tokens = TokenStore.Build(ExampleSources.Open([text], TokenizerLoader.Load(path), 512), 2, 20 * 512 + 1);
        var streamed = StreamingPerplexity.Evaluate(model, tokens, new StreamingOptions { SinkTokens = 4, Window = 508 }, 2048);
        Assert.Equal(5, streamed.Count);
        var mean = streamed.Average(s => s.Loss);
        Assert.All(streamed, s => Assert.InRange(s.Perplexity, 0.85 * Math.Exp(mean), 1.15 * Math.Exp(mean))); // stories differ

        using var start = TokenStore.Build(ExampleSources.Open([text], TokenizerLoader.Load(path), 512), 2, 4097);
        var full = StreamingPerplexity.EvaluateFull(model, start, 2048);
        Assert.True(
            full[1].Perplexity > 20 * streamed[1].Perplexity,
            $"full attention has {full[1].Perplexity:F1} where streaming has {streamed[1].Perplexity:F1}"
        );
    }

    [Fact]
    public void Evaluate_of_nothing_says_so()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var one = Numbers(1);
        using var some = Numbers(9);
        Assert.Contains(
            "1 tokens",
            Assert.Throws<DataException>(() => StreamingPerplexity.Evaluate(model, one, new(), 10)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "stretch is 0",
            Assert.Throws<ConfigurationException>(() => StreamingPerplexity.EvaluateFull(model, some, 0)).Message,
            StringComparison.Ordinal
        );
    }
}
