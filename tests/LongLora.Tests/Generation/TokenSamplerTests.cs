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
    }

    [Fact]
    public void Next_penalises_tokens_that_were_there()
    {
        var options = new GenerationOptions { RepetitionPenalty = 2 };
        Assert.Equal(1, new TokenSampler(options).Next([-1, 3, 4, 0], [2])); // 4 / 2 < 3
        Assert.Equal(2, new TokenSampler(options).Next([-5, -3, -2, -5], [1])); // -3 becomes -6
        Assert.Equal(0, new TokenSampler(options).Next([-3, -7, -2, -7], [2])); // -2 becomes -4
    }

    [Fact]
    public void Validate_lists_every_problem()
    {
        var options = new GenerationOptions
        {
            MaxTokens = 0,
            Temperature = -1,
            TopP = 0,
            MinP = 1,
            TopK = -1,
            RepetitionPenalty = 0,
            Stop = [""],
            PrefillChunk = 0,
        };
        Assert.Equal(8, Assert.Throws<ConfigurationException>(options.Validate).Message.Split(Environment.NewLine).Length);
    }
}
