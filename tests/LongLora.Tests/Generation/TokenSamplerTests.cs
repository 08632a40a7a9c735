using LongLora.Data;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Tests.Generation;

public class TokenSamplerTests
{
    // Probabilities 0.5, 0.3, 0.15, 0.05 of tokens 2, 0, 3, 1.
    private static float[] Logits => [MathF.Log(0.3f), MathF.Log(0.05f), MathF.Log(0.5f), MathF.Log(0.15f)];

    private static int[] Counts(GenerationOptions options, int draws = 20_000)
    {
        var sampler = new TokenSampler(options);
        var counts = new int[4];
        for (var i = 0; i < draws; i++)
            counts[sampler.Next(Logits, [])]++;
        return counts;
    }

    [Fact]
    public void Next_at_temperature_zero_is_the_first_of_the_likeliest()
    {
        Assert.Equal(2, new TokenSampler(new()).Next(Logits, []));
        Assert.Equal(1, new TokenSampler(new()).Next([0, 1, 1, 0.5f], []));
    }

    [Fact]
    public void Next_draws_in_proportion()
    {
        var counts = Counts(new() { Temperature = 1 });
        foreach (var (token, share) in new[] { (0, 0.3), (1, 0.05), (2, 0.5), (3, 0.15) })
            Assert.Equal(share, counts[token] / 20_000.0, 0.015);
        // At temperature 0.5 probabilities are squared: 0.25, 0.09, 0.0225, 0.0025 of 0.365.
        counts = Counts(new() { Temperature = 0.5 });
        Assert.Equal(0.25 / 0.365, counts[2] / 20_000.0, 0.015);
    }

    [Fact]
    public void Next_keeps_the_tokens_that_the_options_keep()
    {
        bool[] Drawn(GenerationOptions options) => [.. Counts(options with { Temperature = 1 }).Select(c => c > 0)];
        Assert.Equal([true, false, true, false], Drawn(new() { TopK = 2 }));
        Assert.Equal([true, false, true, false], Drawn(new() { TopP = 0.75 }));
        Assert.Equal([true, false, true, true], Drawn(new() { TopP = 0.85 }));
        Assert.Equal([true, false, true, true], Drawn(new() { MinP = 0.25 })); // 0.15 is 30 % of 0.5
        Assert.Equal([true, false, true, false], Drawn(new() { MinP = 0.35 }));
        Assert.Equal([false, false, true, false], Drawn(new() { TopP = 0.01 }));
        Assert.Equal([false, false, true, false], Drawn(new() { TopP = 0 }));
    }

    // A few likely tokens and many unlikely ones, which together are drawn as often: the likely ones alone would not do.
    [Theory]
    [InlineData(1, 0, 1, 0)]
    [InlineData(3, 0, 1, 0)]
    [InlineData(0.2, 0, 1, 0)]
    [InlineData(1, 3, 1, 0)]
    [InlineData(1, 900, 1, 0)]
    [InlineData(1, 0, 0.4, 0)]
    [InlineData(1, 0, 0.9, 0)]
    [InlineData(1, 0, 1, 0.3)]
    [InlineData(1, 0, 1, 1e-5)]
    [InlineData(1, 700, 0.8, 1e-4)]
    public void Next_draws_what_a_sort_of_the_whole_vocabulary_draws(double temperature, int topK, double topP, double minP)
    {
        var options = new GenerationOptions
        {
            Temperature = temperature,
            TopK = topK,
            TopP = topP,
            MinP = minP,
            Seed = 5,
        };
        var random = new Random(3);
        var logits = Enumerable.Range(0, 1000).Select(i => i % 100 == 7 ? 9 + random.NextSingle() : random.NextSingle()).ToArray();
        var sampler = new TokenSampler(options);
        var draws = new SplitMix64(5);
        for (var i = 0; i < 2000; i++)
            Assert.Equal(DrawSlowly(logits, options, draws.Share()), sampler.Next([.. logits], []));
    }

    private static int DrawSlowly(float[] logits, GenerationOptions options, double share)
    {
        var order = Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).ToList();
        var kept = order.Take(options.TopK > 0 ? options.TopK : order.Count).ToList();
        double Weigh(int id) => Math.Exp((logits[id] - logits[order[0]]) / options.Temperature);
        var (sum, reached) = (kept.Sum(Weigh), 0.0);
        kept = [.. kept.TakeWhile(id => options.TopP >= 1 || (reached += Weigh(id)) - Weigh(id) < options.TopP * sum)];
        kept = [.. kept.Where((id, i) => i == 0 || Weigh(id) >= options.MinP)];
        var point = share * kept.Sum(Weigh);
        return kept.Find(id => (point -= Weigh(id)) < 0);
    }

    [Fact]
    public void Next_penalizes_tokens_of_prompt_and_answer()
    {
        int Next(float[] logits, int seen)
        {
            var sampler = new TokenSampler(new GenerationOptions { RepetitionPenalty = 2 });
            sampler.Begin([seen]);
            return sampler.Next(logits, []);
        }
        Assert.Equal(1, Next([-1, 3, 4, 0], 2)); // 4 / 2 < 3
        Assert.Equal(2, Next([-5, -3, -2, -5], 1)); // -3 becomes -6
        Assert.Equal(0, Next([-3, -7, -2, -7], 2)); // -2 becomes -4
    }

    [Fact]
    public void Next_penalizes_tokens_of_the_answer_by_presence_and_frequency()
    {
        int[] Draw(GenerationOptions options, int count)
        {
            var sampler = new TokenSampler(options);
            sampler.Begin([0]); // the prompt does not count
            return [.. Enumerable.Range(0, count).Select(_ => sampler.Next([5, 3.5f, 0], []))];
        }
        Assert.Equal([0, 0, 0, 0], Draw(new() { FrequencyPenalty = 0.4 }, 4)); // 5 - 3 * 0.4 = 3.8
        Assert.Equal([0, 0, 0, 0, 1], Draw(new() { FrequencyPenalty = 0.4 }, 5)); // 3.4 < 3.5
        Assert.Equal([0, 1, 0, 0], Draw(new() { PresencePenalty = 2 }, 4)); // 3 < 3.5, then 3 against 1.5 for ever
    }

    [Fact]
    public void Next_adds_biases_and_never_chooses_forbidden_tokens()
    {
        Assert.Equal(1, new TokenSampler(new() { LogitBias = new Dictionary<int, double> { [1] = 4 } }).Next([3, 0, 0, 0], []));
        Assert.Equal(3, new TokenSampler(new() { LogitBias = new Dictionary<int, double> { [0] = -100 } }).Next([3, 0, 1, 2], []));
        var sampler = new TokenSampler(new() { Temperature = 1, Seed = 1 });
        for (var i = 0; i < 1000; i++)
            Assert.True(sampler.Next(Logits, [2, 0]) is 1 or 3);
    }

    [Fact]
    public void Seed_repeats_the_draws_counts_all_64_bits_and_is_fresh_where_none_is_given()
    {
        string Draw(long? seed)
        {
            var sampler = new TokenSampler(new() { Temperature = 1, Seed = seed });
            return string.Concat(Enumerable.Range(0, 50).Select(_ => sampler.Next(Logits, [])));
        }
        long[] seeds = [0, 1, -1, 7, 12345678901, 7 + (1L << 32), long.MinValue, long.MaxValue];
        Assert.Equal(seeds.Select(s => Draw(s)), seeds.Select(s => Draw(s)));
        Assert.Equal(seeds.Length, seeds.Select(s => Draw(s)).Distinct().Count());
        Assert.Equal(20, Enumerable.Range(0, 20).Select(_ => Draw(null)).Distinct().Count());
        var fresh = new TokenSampler(new() { Temperature = 1 });
        Assert.Equal(Draw(fresh.Seed), string.Concat(Enumerable.Range(0, 50).Select(_ => fresh.Next(Logits, []))));
    }

    [Fact]
    public void Validate_lists_every_problem()
    {
        var options = new GenerationOptions
        {
            MaxTokens = 0,
            Temperature = -1,
            TopP = -1,
            MinP = 1,
            TopK = -1,
            RepetitionPenalty = 0,
            Stop = [""],
            PrefillChunk = 0,
            MinTokens = 1,
            FrequencyPenalty = double.NaN,
        };
        Assert.Equal(10, Assert.Throws<ConfigurationException>(options.Validate).Message.Split(Environment.NewLine).Length);
    }
}
