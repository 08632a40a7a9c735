using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

[Collection(nameof(ThreadCounts))]
public sealed class BlockProductTests
{
    // Around the borders of tiles, panels and blocks.
    public static TheoryData<int, int, int> Shapes =>
        [(16, 4_096, 16), (17, 255, 300), (192, 256, 32), (193, 257, 33), (700, 577, 100), (100, 64, 2_081)];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Product_equals_that_in_fp64(int rows, int inner, int columns)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(31);
        // By rows, by columns, and some columns of a wider matrix.
        foreach (var a in new[] { randn(rows, inner), randn(inner, rows).t(), randn(rows, inner + 9).narrow(1, 3, inner) })
        {
            foreach (var b in new[] { randn(inner, columns), randn(columns, inner).t(), randn(inner, columns + 5).narrow(1, 2, columns) })
            {
                var (expected, tolerance) = (a.to(ScalarType.Float64).mm(b.to(ScalarType.Float64)), 3e-6 * inner);
                Near.AssertEqual(expected, BlockProduct.Multiply(a, b), tolerance);
                var start = randn(rows, columns + 7);
                var (target, kept) = (start.narrow(1, 4, columns), start.clone());
                var sum = target.to(ScalarType.Float64).add(expected.mul(Scalars.Of(0.25)), Scalars.One);
                BlockProduct.MultiplyInto(target, a, b, 0.25f, adds: true);
                Near.AssertEqual(sum, target, tolerance);
                // Nothing beside it has changed.
                Near.AssertEqual(kept.narrow(1, 0, 4), start.narrow(1, 0, 4), 0);
                Near.AssertEqual(kept.narrow(1, 4 + columns, 3), start.narrow(1, 4 + columns, 3), 0);
            }
        }
    }

    [Fact]
    public void A_row_depends_neither_on_other_rows_nor_on_threads()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(32);
        var (a, b) = (randn(1_000, 700), randn(500, 700).t());
        var threads = get_num_threads();
        try
        {
            set_num_threads(1);
            var whole = BlockProduct.Multiply(a, b);
            set_num_threads(5);
            Near.AssertEqual(whole, BlockProduct.Multiply(a, b), 0);
            foreach (var (first, count) in new[] { (0, 16), (7, 100), (333, 667) })
                Near.AssertEqual(whole.narrow(0, first, count), BlockProduct.Multiply(a.narrow(0, first, count), b), 0);
            Near.AssertEqual(whole.narrow(1, 100, 77), BlockProduct.Multiply(a, b.narrow(1, 100, 77)), 0);
        }
        finally
        {
            set_num_threads(threads);
        }
    }
}
