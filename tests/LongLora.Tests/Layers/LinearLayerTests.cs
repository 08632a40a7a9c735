using LongLora.Layers;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Layers;

public sealed class LinearLayerTests
{
    public static TheoryData<string> Forms => ["fp32", "bf16", "fp16", "nf4", "int8"];

    // 320 inputs: blocks of quantization and vectors are filled; 101 outputs: pieces of threads are not.
    [Theory]
    [MemberData(nameof(Forms))]
    public void Forward_of_one_row_is_that_of_any_rows(string form)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(31);
        var matrix = randn(101, 320);
        IProjection projection = form switch
        {
            "nf4" => Nf4Projection.Quantize(matrix),
            "int8" => Int8Projection.Quantize(matrix, null, CPU),
            _ => new DenseProjection(
                new(
                    "w",
                    matrix.to(
                        form == "bf16" ? ScalarType.BFloat16
                        : form == "fp16" ? ScalarType.Float16
                        : ScalarType.Float32
                    )
                )
            ),
        };
        var layer = new LinearLayer("w", 320, 101, projection);
        var rows = randn(1, 1, 320);
        foreach (var outputs in new FeatureSlice?[] { null, new(0, 101), new(7, 40), new(100, 1) })
        {
            var expected = layer.Forward(rows.expand(1, 9, 320).contiguous(), outputs).narrow(1, 4, 1);
            using var small = SmallWork.Allow(true);
            var token = layer.Forward(rows, outputs);
            Assert.Equal(expected.shape, token.shape);
            Near.AssertEqual(expected, token, 5e-5, $"{form} {outputs}");
            Assert.True(layer.TryForwardRow(rows, outputs, empty_like(token)), form);
        }
        (projection as IDisposable)?.Dispose();
    }

    [Fact]
    public void Forward_of_one_row_adds_the_bias()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var (matrix, bias, row) = (randn(5, 16), randn(5), randn(1, 16));
        var layer = new LinearLayer("w", 16, 5, new DenseProjection(new("w", matrix.alias()), new("b", bias.alias())));
        using var small = SmallWork.Allow(true);
        Near.AssertEqual(row.mm(matrix.t()) + bias, layer.Forward(row), 1e-5);
    }
}
