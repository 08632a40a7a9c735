using LongLora.Attention;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Training;

namespace LongLora.Tests.Evaluation;

public class ShortTextTests
{
    private static TokenStore Text(int count) =>
        TokenStore.Build(
            new FineTuneGoldenTests.MemorySource([
                [.. Enumerable.Range(0, count).Select(i => i * i * 7 % 500 + 3)],
            ]),
            null
        );

    [Fact]
    public void Evaluate_by_position_is_the_mean_loss_of_the_tokens_with_so_much_context()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var tokens = Text(130);
        var result = Perplexity.Evaluate(model, tokens, 20, PerplexityProtocol.LongLora, 20);

        // Windows at 0, 20, .. below 130 - 20, the last one left out.
        var losses = new List<(int Before, double Loss)>();
        using var positions = RotaryEmbedding.Create(model.Config, 20);
        for (var start = 0; start < 100; start += 20)
        {
            var ids = new long[20];
            tokens.CopyTo(start, ids);
            losses.AddRange(
                TokenLosses.Compute(model, ids, new ForwardContext(new FullAttention(), positions)).Select((loss, i) => (i + 1, loss))
            );
        }
        Assert.Equal([(1, 1), (2, 3), (4, 7), (8, 15), (16, 19)], result.ByPosition.Select(bin => (bin.From, bin.To)));
        foreach (var bin in result.ByPosition)
        {
            var inside = losses.Where(l => l.Before >= bin.From && l.Before <= bin.To).ToList();
            Assert.Equal(inside.Count, bin.Tokens);
            Assert.Equal(inside.Average(l => l.Loss), bin.Loss, 1e-9);
        }
        Assert.Equal(result.Loss, result.ByPosition.Sum(b => b.Loss * b.Tokens) / result.Tokens, 1e-9);
    }

    [Fact]
    public void Compare_tells_what_was_lost_in_percent()
    {
        var changes = ShortText.Compare(
            [("perplexity", 128, 8.0), ("perplexity", 256, 5.0), ("passkey", 256, 1.0)],
            [("perplexity", 128, 8.4), ("perplexity", 256, 4.5), ("passkey", 256, 0.9)]
        );
        Assert.Equal([5, -10, -10], changes.Select(c => Math.Round(c.Percent, 9)));
        Assert.Throws<ConfigurationException>(() => ShortText.Compare([("perplexity", 128, 8.0)], [("perplexity", 256, 8.0)]));
    }

    [Fact]
    public void Measure_scores_the_original_context_and_its_halves()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var tokens = Text(400);
        var measures = ShortText.Measure(model, tokens, 64);
        Assert.Equal([("perplexity", 16), ("perplexity", 32), ("perplexity", 64)], measures.Select(m => (m.Measure, m.Length)));
        Assert.Equal(Perplexity.Evaluate(model, tokens, 32, PerplexityProtocol.LongLora, 32).Perplexity, measures[1].Value, 1e-12);
        Assert.All(ShortText.Compare(measures, measures), c => Assert.Equal(0, c.Percent));
    }
}
