using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Tests.Layers;

public sealed class RowProductTests
{
    public static TheoryData<ScalarType, int, int, int> Shapes =>
        [
            .. from type in new[] { ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16 }
            from rows in new[] { 1, 3, 4, 17, 32 }
            from size in new[] { (1, 1), (5, 31), (64, 576), (300, 1031) }
            select (type, rows, size.Item1, size.Item2),
        ];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Multiply_equals_the_product_in_fp64(ScalarType type, int rows, int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        manual_seed(7);
        var (x, matrix) = (randn(rows, inputs), randn(outputs, inputs).to(type));
        var made = RowProduct.Multiply(x, matrix)!;
        var expected = x.to(ScalarType.Float64).mm(matrix.to(ScalarType.Float64).t());
        Near.AssertEqual(expected, made.to(ScalarType.Float64), 1e-6 * inputs);
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.BFloat16)]
    public void Multiply_a_row_gives_the_same_bits_alone_and_beside_others(ScalarType type)
    {
        // Answers that share a pass rely on it. Odd numbers of rows and outputs leave one of each without a neighbor.
        using var scope = NewDisposeScope();
        manual_seed(7);
        var (x, matrix) = (randn(RowProduct.MostRows, 577), randn(301, 577).to(type));
        foreach (var together in new[] { 2, 7, RowProduct.MostRows })
        {
            var made = RowProduct.Multiply(x.narrow(0, 0, together), matrix)!;
            for (var row = 0; row < together; row++)
                Assert.Equal(RowProduct.Multiply(x.narrow(0, row, 1), matrix)!.data<float>(), made[row].data<float>());
        }
    }

    [Fact]
    public void Multiply_reads_every_fp16_number_exactly()
    {
        using var scope = NewDisposeScope();
        // One row of 1 x 65536 for each number: all but the infinite ones and NaN, which a second test reads.
        var all = Enumerable.Range(0, 65536).Select(bits => BitConverter.UInt16BitsToHalf((ushort)bits)).Where(Half.IsFinite).ToArray();
        var matrix = tensor(all.Select(h => (float)h).ToArray(), [all.Length, 1]).to(ScalarType.Float16);
        // Sixteen equal columns, so that the vectors are used; the sum of sixteen equal fp16 numbers is exact in fp32.
        var made = RowProduct.Multiply(ones(1, 64), matrix.expand(all.Length, 64).contiguous())!;
        Assert.Equal(all.Select(h => 64 * (float)h), made.data<float>());
    }

    [Fact]
    public void Multiply_keeps_infinity_and_nan_of_fp16()
    {
        using var scope = NewDisposeScope();
        var matrix = tensor(new[] { float.PositiveInfinity, float.NegativeInfinity, float.NaN }, [3, 1])
            .to(ScalarType.Float16)
            .expand(3, 64)
            .contiguous();
        Assert.Equal(
            [float.PositiveInfinity, float.NegativeInfinity, float.NaN],
            RowProduct.Multiply(ones(1, 64), matrix)!.data<float>().ToArray()
        );
    }

    [Fact]
    public void Takes_only_few_rows_outside_autograd()
    {
        using var scope = NewDisposeScope();
        Assert.False(RowProduct.Takes(zeros(1, 8))); // a trained matrix would get no gradient
        using var noGradient = no_grad();
        Assert.True(RowProduct.Takes(zeros(RowProduct.MostRows, 8)));
        Assert.False(RowProduct.Takes(zeros(RowProduct.MostRows + 1, 8)));
        Assert.False(RowProduct.Takes(zeros(1, 8, ScalarType.BFloat16)));
        Assert.True(RowProduct.Takes(zeros(1, 8, requires_grad: true)));
        using (RowProduct.Stop())
            Assert.False(RowProduct.Takes(zeros(1, 8)));
        Assert.True(RowProduct.Takes(zeros(1, 8)));
    }

    [Fact]
    public void Multiply_leaves_matrices_that_are_not_contiguous_to_libtorch()
    {
        using var scope = NewDisposeScope();
        Assert.Null(RowProduct.Multiply(zeros(1, 8), zeros(8, 5).t()));
    }
}
