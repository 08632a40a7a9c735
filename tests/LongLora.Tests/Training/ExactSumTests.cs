using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class ExactSumTests
{
    private const int Count = 10_007;

    private static Tensor Gradients(int number)
    {
        using var generator = new Generator((ulong)number + 7);
        return randn([Count], generator: generator) * rand([Count], generator: generator).pow(12); // many sizes, down to nothing
    }

    private static Tensor Add(IEnumerable<int> numbers)
    {
        using var sum = new ExactSum(zeros(Count));
        foreach (var number in numbers)
        {
            using var gradients = Gradients(number);
            Assert.True(sum.Add(gradients, 10));
            Assert.Equal(0, gradients.abs().max().item<float>());
        }
        var result = ones(Count);
        sum.MoveTo(result);
        Assert.Equal(0, sum.Total.abs().max().item<long>());
        return result;
    }

    [Fact]
    public void Add_in_any_order_gives_the_same_bits()
    {
        using var forward = Add(Enumerable.Range(0, 9));
        using var backward = Add(Enumerable.Range(0, 9).Reverse());
        Assert.True(forward.equal(backward).all().item<bool>());
        // Sums in fp32 have an order: the test would see one.
        using var plain = Enumerable.Range(0, 9).Select(Gradients).Aggregate((a, b) => a + b);
        using var reversed = Enumerable.Range(0, 9).Reverse().Select(Gradients).Aggregate((a, b) => a + b);
        Assert.False(plain.equal(reversed).all().item<bool>());
    }

    [Fact]
    public void Add_is_within_the_rounding_of_its_unit()
    {
        using var sum = Add(Enumerable.Range(0, 9));
        using var exact = Enumerable.Range(0, 9).Select(n => Gradients(n).to(ScalarType.Float64)).Aggregate((a, b) => a + b);
        // Half a unit for each of nine, and fp32's own rounding of the result.
        using var allowed = exact.abs() * Math.Pow(2, -24) + 9 * Math.Pow(2, -53);
        Assert.True(((sum.to(ScalarType.Float64) - exact).abs() <= allowed).all().item<bool>());
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(10f)]
    [InlineData(-10f)]
    public void Add_refuses_what_whole_numbers_cannot_hold(float bad)
    {
        using var sum = new ExactSum(zeros(Count));
        using var gradients = zeros(Count);
        gradients[Count - 1] = bad;
        Assert.False(sum.Add(gradients, 10));
        Assert.Equal(0, sum.Total.abs().max().item<long>());
    }

    [Fact]
    public void Add_as_many_times_as_the_limit_is_for_does_not_overflow()
    {
        const int times = 64;
        using var sum = new ExactSum(zeros(1));
        var most = MathF.BitDecrement((float)ExactSum.Limit(times));
        for (var i = 0; i < times; i++)
            Assert.True(sum.Add(full([1], most), ExactSum.Limit(times)));
        using var result = zeros(1);
        sum.MoveTo(result);
        Assert.Equal(times * most, result.item<float>());
    }
}
