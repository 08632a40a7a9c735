using LongLora.Layers;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class SpikeGuardTests
{
    // The definition, without any state.
    private static bool[] Slow(IReadOnlyList<double> norms, double factor) =>
        [
            .. norms.Select(
                (norm, i) =>
                {
                    var before = norms.Take(i).TakeLast(32).Order().ToList();
                    return before.Count >= 16 && norm > factor * before[(before.Count - 1) / 2];
                }
            ),
        ];

    [Fact]
    public void IsSpike_is_the_definition_also_after_a_resume_at_any_step()
    {
        var random = new Random(5);
        double[] norms =
        [
            .. Enumerable.Range(0, 200).Select(_ => random.Next(10) == 0 ? 1 + 10 * random.NextDouble() : random.NextDouble()),
        ];
        var expected = Slow(norms, 2.5);
        Assert.InRange(expected.Count(s => s), 5, 30);
        var guard = new SpikeGuard(2.5);
        for (var i = 0; i < norms.Length; i++)
        {
            var resumed = new SpikeGuard(2.5);
            Assert.True(resumed.TryRestore(guard.Save()));
            Assert.Equal(expected[i], resumed.IsSpike(norms[i]));
            Assert.Equal(expected[i], guard.IsSpike(norms[i]));
        }
        Assert.DoesNotContain(true, norms.Select(new SpikeGuard(0).IsSpike));
    }

    [Fact]
    public void IsSpike_accepts_a_norm_that_stays_high_after_half_a_window()
    {
        var guard = new SpikeGuard(3);
        for (var i = 0; i < 40; i++)
            Assert.False(guard.IsSpike(1));
        Assert.Equal(16, Enumerable.Range(0, 100).TakeWhile(_ => guard.IsSpike(50)).Count());
    }

    [Theory]
    [InlineData("1 x")]
    [InlineData("-1")]
    [InlineData("NaN")]
    [InlineData("1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1")]
    public void TryRestore_refuses_what_was_not_saved(string saved) => Assert.False(new SpikeGuard(2).TryRestore(saved));

    [Fact]
    public void Skip_changes_no_weight_and_the_next_steps_are_those_without_it()
    {
        using var scope = NewDisposeScope();
        (Tensor Values, long Steps) Train(params float[] gradients)
        {
            using var parameters = new ParameterBuffer([new Weight("w", ones(2, 3))]);
            using var optimizer = new AdamW(parameters, new AdamWOptions());
            foreach (var gradient in gradients)
            {
                parameters.Gradients.fill_(gradient);
                if (gradient > 100)
                    optimizer.Skip();
                else
                    optimizer.Step(0.1, parameters.ComputeGradientNorm());
                Assert.Equal(0, parameters.Gradients.abs().max().item<float>());
            }
            return (parameters.Values.clone(), optimizer.Steps);
        }
        var (plain, _) = Train(1, -2, 0.5f);
        var (skipping, steps) = Train(1, 1000, -2, 0.5f);
        Assert.Equal(4, steps);
        Assert.True(plain.equal(skipping).all().item<bool>());
        Assert.False(plain.equal(Train(1, -2).Values).all().item<bool>());
    }
}
