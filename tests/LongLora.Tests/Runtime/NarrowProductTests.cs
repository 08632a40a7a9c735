using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

/// <summary>Products with few columns against fp64.</summary>
[Collection(nameof(ThreadCounts))]
public sealed class NarrowProductTests
{
    [Theory]
    [InlineData(4096, 576, 8)]
    [InlineData(1025, 512, 1)]
    [InlineData(20_001, 7, 15)]
    [InlineData(6, 12_000, 4)]
    [InlineData(131, 1023, 15)]
    public void Both_products_equal_those_in_fp64(int count, int size, int columns)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(1);
        // Some columns of a wider matrix, as of a layer that gives several projections.
        var rows = randn(count, size + 5).narrow(1, 2, size);
        var (matrix, narrow) = (randn(columns, size).t(), randn(count, columns));
        Assert.True(NarrowProduct.Takes(rows, columns));
        AssertNear(Wide(rows).mm(Wide(matrix)), rows.Times(matrix), size);
        AssertNear(Wide(rows).mm(Wide(matrix)), Products.Linear(rows, matrix.t()), size);

        foreach (var target in new[] { randn(size, columns), randn(columns, size).t(), randn(size, columns + 3).narrow(1, 1, columns) })
        {
            var expected = Wide(target) + 0.5 * Wide(rows).t().mm(Wide(narrow));
            var turned = target.t().clone();
            target.AddTimes(rows.t(), narrow, 0.5);
            AssertNear(expected, target, count);
            turned.AddTimes(narrow.t(), rows, 0.5);
            AssertNear(expected.t(), turned, count);
        }
    }

    [Fact]
    public void Results_depend_neither_on_threads_nor_on_other_rows()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(2);
        var (rows, matrix, narrow) = (randn(5000, 192), randn(192, 8), randn(5000, 8));
        var (product, sum) = (rows.Times(matrix), zeros(192, 8));
        sum.AddTimes(rows.t(), narrow, 1);
        Near.AssertEqual(product.narrow(0, 1001, 700), rows.narrow(0, 1001, 700).Times(matrix), 0);
        var before = get_num_threads();
        set_num_threads(1);
        try
        {
            var alone = zeros(192, 8);
            alone.AddTimes(rows.t(), narrow, 1);
            Near.AssertEqual(product, rows.Times(matrix), 0);
            Near.AssertEqual(sum, alone, 0);
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Fact]
    public void Autograd_and_other_shapes_take_the_operators()
    {
        using var scope = NewDisposeScope();
        var rows = randn(4096, 64);
        Assert.True(NarrowProduct.Takes(rows, 15));
        Assert.False(NarrowProduct.Takes(rows, 16));
        Assert.False(NarrowProduct.Takes(rows.t(), 8));
        Assert.False(NarrowProduct.Takes(randn(16, 64), 8));
        Assert.False(NarrowProduct.Takes(rows.to(ScalarType.BFloat16), 8));
        var (leaf, matrix) = (rows.clone().requires_grad_(true), randn(64, 8, requires_grad: true));
        leaf.Times(matrix).sum().backward();
        rows.Times(matrix).sum().backward();
        Products.Linear(rows, matrix.t()).sum().backward();
        Assert.NotNull(leaf.grad);
        AssertNear(Wide(rows).sum(0, type: ScalarType.Float64).mul(3).unsqueeze(1).expand(64, 8), matrix.grad!, 20 * 4096);
    }

    private static Tensor Wide(Tensor tensor) => tensor.to(ScalarType.Float64);

    // The error of a sum of so many products of ordinary size.
    private static void AssertNear(Tensor expected, Tensor made, int terms) => Near.AssertEqual(expected, made, 6e-6 * Math.Sqrt(terms));
}
