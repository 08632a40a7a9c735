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
            Assert.NotNull(LinearLayer.ForwardRow(rows, new RowOutputs(layer, outputs, token.shape)));
        }
        (projection as IDisposable)?.Dispose();
    }

    // Of many outputs, so that threads divide them at other places than between the layers.
    [Fact]
    public void Layers_of_one_row_together_have_the_bits_of_each_alone()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var row = randn(1, 576);
        LinearLayer Make(long outputs, ScalarType type, bool hasBias) =>
            new(
                "w",
                576,
                outputs,
                new DenseProjection(new("w", randn(outputs, 576).to(type)), hasBias ? new("b", randn(outputs).to(type)) : null)
            );
        (LinearLayer Layer, FeatureSlice? Outputs)[] parts =
        [
            (Make(1000, ScalarType.Float32, true), null),
            (Make(33, ScalarType.BFloat16, false), null),
            (Make(700, ScalarType.BFloat16, true), new(150, 333)),
            (Make(1, ScalarType.Float16, true), null),
        ];
        RowOutputs[] rows = [.. parts.Select(p => new RowOutputs(p.Layer, p.Outputs, 1, p.Outputs?.Count ?? p.Layer.OutputSize))];
        using var small = SmallWork.Allow(true);
        foreach (var (made, (layer, outputs)) in LinearLayer.ForwardRow(row, rows)!.Zip(parts))
            Assert.Equal(layer.Forward(row, outputs).data<float>().ToArray(), made.data<float>().ToArray());
        // One that has other inputs.
        var other = new RowOutputs(new LinearLayer("w", 320, 5, new DenseProjection(new("w", randn(5, 320)))), null, 1, 5);
        Assert.Null(LinearLayer.ForwardRow(row, rows[0], other));
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
