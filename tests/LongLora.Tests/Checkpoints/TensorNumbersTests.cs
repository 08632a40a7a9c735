using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class TensorNumbersTests
{
    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    public void RequireFinite_first_bad_element_is_named_wherever_it_is(ScalarType type)
    {
        using var scope = NewDisposeScope();
        const int count = 133;
        var info = new TensorInfo("w", type, [7, 19], "file");
        foreach (var bad in (double[])[double.NaN, double.PositiveInfinity, double.NegativeInfinity])
        {
            for (var place = 0; place < count; place++)
            {
                var numbers = randn(count).to(type);
                numbers[place] = bad;
                numbers[count - 1] = bad;
                var error = Assert.Throws<CheckpointException>(() => TensorNumbers.RequireFinite(numbers.view(7, 19), info));
                Assert.StartsWith($"file: 'w' [7, 19] has {bad} at element {place}.", error.Message, StringComparison.Ordinal);
            }
        }
    }

    [Theory]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Int64)]
    public void RequireFinite_largest_numbers_zeros_and_nothing_pass(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var largest = type switch
        {
            ScalarType.Float64 => double.MaxValue,
            ScalarType.Float32 => float.MaxValue,
            ScalarType.BFloat16 => 3.3895313892515355e38,
            _ => 65504,
        };
        var numbers = tensor([largest, -largest, 0.0, -0.0, 1e-40]).repeat(9).to(type);
        Assert.True(numbers.isfinite().all().item<bool>());
        TensorNumbers.RequireFinite(numbers, new TensorInfo("w", type, numbers.shape, "file"));
        TensorNumbers.RequireFinite(numbers.narrow(0, 0, 0), new TensorInfo("w", type, [0], "file"));
    }
}
