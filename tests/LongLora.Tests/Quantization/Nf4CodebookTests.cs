using LongLora.Quantization;

namespace LongLora.Tests.Quantization;

public class Nf4CodebookTests
{
    // The quantile function of the normal distribution by bisection of its integral (Simpson's rule): slow, and unlike any table.
    private static double Quantile(double probability)
    {
        static double Below(double x)
        {
            const int steps = 2000;
            double width = x / steps,
                sum = 0;
            for (var i = 0; i <= steps; i++)
                sum +=
                    (
                        i is 0 or steps ? 1
                        : i % 2 == 1 ? 4
                        : 2
                    ) * Math.Exp(-(i * width) * (i * width) / 2);
            return 0.5 + sum * width / 3 / Math.Sqrt(2 * Math.PI);
        }
        double low = -5,
            high = 5;
        for (var i = 0; i < 60; i++)
        {
            var middle = (low + high) / 2;
            (low, high) = Below(middle) < probability ? (middle, high) : (low, middle);
        }
        return low;
    }

    [Fact]
    public void Values_are_the_published_table_and_quantiles_of_the_normal_distribution()
    {
        Assert.Equal(SlowNf4.Table, Nf4Codebook.Values);

        // 8 positive and 7 negative quantiles between one half and 0.9677083, and zero, over the largest.
        const double outermost = 0.9677083;
        var positive = Enumerable.Range(0, 8).Select(i => Quantile(outermost + (0.5 - outermost) * i / 8));
        var negative = Enumerable.Range(0, 7).Select(i => -Quantile(outermost + (0.5 - outermost) * i / 7));
        var expected = positive.Concat(negative).Append(0).Order().ToArray();
        for (var i = 0; i < 16; i++)
            Assert.Equal(expected[i] / expected[^1], Nf4Codebook.Values[i], 1e-6);
    }

    [Fact]
    public void Thresholds_lie_halfway_between_values()
    {
        Assert.Equal(15, Nf4Codebook.Thresholds.Length);
        for (var i = 0; i < 15; i++)
            Assert.Equal(((double)SlowNf4.Table[i] + SlowNf4.Table[i + 1]) / 2, Nf4Codebook.Thresholds[i], 6e-8);
    }

    [Fact]
    public void Scale_values_are_means_of_equal_parts_of_seven_powers_of_ten()
    {
        var expected = new List<double> { 0, 1 };
        for (var power = 0; power < 7; power++)
        {
            for (var part = 0; part < 1 << power; part++)
            {
                var mean = (0.1 + 0.9 * (part + 0.5) / (1 << power)) * Math.Pow(10, power - 6);
                expected.AddRange([mean, -mean]);
            }
        }
        expected.Sort();
        var values = Nf4Codebook.ScaleValues;
        Assert.Equal(256, values.Length);
        for (var i = 0; i < 256; i++)
            Assert.Equal(expected[i], values[i], 1e-6 * Math.Abs(expected[i]));
        Assert.Equal(0, values[127]);

        // Some of the numbers that bitsandbytes stores in nested_quant_map, to the bit.
        Dictionary<int, float> published = new()
        {
            [0] = -0.992968738079071f,
            [1] = -0.9789062738418579f,
            [20] = -0.7117187976837158f,
            [34] = -0.5148437023162842f,
            [63] = -0.10703125596046448f,
            [64] = -0.09859374910593033f,
            [95] = -0.011406250298023224f,
            [111] = -0.001281249918974936f,
            [126] = -5.500000384017767e-07f,
            [128] = 5.500000384017767e-07f,
            [130] = 7.749999895168003e-06f,
            [134] = 8.874999912222847e-05f,
            [138] = 0.000493750034365803f,
            [142] = 0.0009437500848434865f,
            [150] = 0.0052187503315508366f,
            [159] = 0.011406250298023224f,
            [202] = 0.26171875f,
            [255] = 1,
        };
        foreach (var (place, value) in published)
            Assert.Equal(value, values[place]);
        Assert.Equal(values, values.Distinct().Order());
    }

    [Fact]
    public void Nearest_equals_search_through_all_values()
    {
        var random = new Random(1);
        for (var i = 0; i < 5000; i++)
        {
            var x = (float)(Math.Pow(random.NextDouble(), 3) * (random.Next(2) * 2 - 1) * 1.1);
            var slow = Enumerable.Range(0, 256).MinBy(j => Math.Abs((double)x - Nf4Codebook.ScaleValues[j]));
            var found = Nf4Codebook.FindNearest(Nf4Codebook.ScaleValues, x);
            Assert.Equal(Math.Abs((double)x - Nf4Codebook.ScaleValues[slow]), Math.Abs((double)x - Nf4Codebook.ScaleValues[found]), 1e-8);
        }
    }
}
