using LongLora.Layers;
using LongLora.Quantization;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Quantization;

/// <summary>What every form of a quantised matrix must do: compute as the dense matrix of its own values does.</summary>
public class QuantizedProjectionTests
{
    private static QuantizedProjection Quantize(QuantizationKind kind, Tensor weight, Weight? bias = null) =>
        kind == QuantizationKind.Nf4 ? Nf4Projection.Quantize(weight, bias) : Int8Projection.Quantize(weight, bias);

    [Theory]
    [InlineData(QuantizationKind.Nf4, 172, 64)]
    [InlineData(QuantizationKind.Int8, 172, 64)]
    [InlineData(QuantizationKind.Nf4, 64, 172)]
    [InlineData(QuantizationKind.Int8, 64, 172)]
    [InlineData(QuantizationKind.Nf4, 3000, 1100)] // several tiles
    [InlineData(QuantizationKind.Int8, 3000, 1100)]
    public void Forward_and_gradients_equal_dense_projection(QuantizationKind kind, int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        using var bias = new Weight("b", SlowNf4.Random(2, outputs));
        using var projection = Quantize(kind, SlowNf4.Random(1, outputs, inputs), bias);
        using var matrix = new Weight("w", projection.ToDense());
        var dense = new DenseProjection(matrix, bias);
        Tensor rows = SlowNf4.Random(3, 21, inputs).mul_(50),
            gradient = SlowNf4.Random(4, 21, outputs).mul_(50);
        var slices = new FeatureSlice?[] { null, new(outputs / 4, outputs / 2 + 1), new(0, 1) };
        using (no_grad())
        {
            foreach (var slice in slices)
                Near.AssertRelative(dense.Forward(rows, slice), projection.Forward(rows, slice), 1e-6, $"forward {slice}");
            foreach (var slice in new FeatureSlice?[] { null, new(inputs / 4, inputs / 2 + 1), new(0, 1) })
                Near.AssertRelative(
                    dense.ComputeInputGradient(gradient, slice),
                    projection.ComputeInputGradient(gradient, slice),
                    1e-6,
                    $"input gradient {slice}"
                );
        }
        foreach (var slice in slices)
        {
            Tensor first = rows.detach().clone().requires_grad_(true),
                second = rows.detach().clone().requires_grad_(true);
            var used = slice is { } s ? gradient.narrow(1, s.Start, s.Count) : gradient;
            dense.Forward(first, slice).backward([used]);
            var output = projection.Forward(second, slice);
            projection.Forward(second.detach() * 2, slice); // another call between forward and backward changes nothing
            output.backward([used]);
            Near.AssertRelative(first.grad!, second.grad!, 1e-6, $"autograd {slice}");
        }
    }

    [Theory]
    [InlineData(QuantizationKind.Nf4, 172, 64)]
    [InlineData(QuantizationKind.Int8, 172, 64)]
    [InlineData(QuantizationKind.Nf4, 70, 1100)] // rows that begin inside a block
    [InlineData(QuantizationKind.Int8, 70, 1100)]
    public void Forward_of_few_rows_equals_the_product_with_the_dense_matrix(QuantizationKind kind, int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(3);
        using var projection = Quantize(kind, randn(outputs, inputs), new Weight("b", randn(outputs)));
        foreach (var count in new[] { 1, RowProduct.MostRows, RowProduct.MostRows + 1 })
        {
            var rows = randn(count, inputs);
            var expected = rows.to(ScalarType.Float64).mm(projection.ToDense().to(ScalarType.Float64).t()) + projection.Bias!.Value;
            Near.AssertRelative(expected, projection.Forward(rows).to(ScalarType.Float64), 1e-6, $"{count} rows");
            var slice = new FeatureSlice(5, 33);
            Near.AssertRelative(expected.narrow(1, 5, 33), projection.Forward(rows, slice).to(ScalarType.Float64), 1e-6, $"{slice}");
        }
    }

    [Theory]
    [InlineData(QuantizationKind.Nf4)]
    [InlineData(QuantizationKind.Int8)]
    public void Calls_leave_no_tensors_behind(QuantizationKind kind)
    {
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        using var weight = SlowNf4.Random(1, 128, 64);
        using var rows = SlowNf4.Random(2, 5, 64);
        using var gradient = SlowNf4.Random(3, 5, 128);
        Quantize(kind, weight).Dispose();
        var before = Live();
        using (var projection = Quantize(kind, weight))
        {
            for (var i = 0; i < 3; i++)
            {
                projection.Forward(rows).Dispose();
                projection.ComputeInputGradient(gradient).Dispose();
                projection.ToDense().Dispose();
            }
        }
        Assert.Equal(before, Live());
    }

    [Fact]
    public void Int8_is_rounding_to_127_steps_of_the_largest_of_a_row()
    {
        using var scope = NewDisposeScope();
        var weight = SlowNf4.Random(1, 40, 33);
        weight[3].zero_();
        using var projection = Int8Projection.Quantize(weight);
        var stored = projection.ToStoredTensors("w").ToDictionary(t => t.Name, t => t.Value());
        var actual = projection.ToDense();
        for (var row = 0; row < 40; row++)
        {
            var values = weight[row].data<float>().ToArray();
            var largest = values.Max(Math.Abs);
            for (var column = 0; column < 33; column++)
            {
                var code = largest == 0 ? 0 : (int)Math.Round(values[column] * 127 / largest, MidpointRounding.ToEven);
                Assert.Equal(code, stored["w.weight"][row, column].item<sbyte>());
                Assert.Equal(code * (largest / 127), actual[row, column].item<float>());
            }
            Assert.Equal(largest, stored["w.SCB"][row].item<float>());
        }
        Assert.Equal(40 * 33 + 4 * 40, projection.ByteCount);
    }

    [Fact]
    public void Int8_kernel_with_and_without_vector_instructions_gives_the_same_bits()
    {
        using var scope = NewDisposeScope();
        var codes = arange(-128, 128, ScalarType.Int64).repeat([1200]).to(ScalarType.Int8); // 307,200: two tasks
        var scales = SlowNf4.Random(1, 600);
        nint Data(Tensor tensor) => LongLora.Runtime.NativeTensor.GetPointer(tensor);
        foreach (var (first, count) in new[] { (0L, 512L), (3L, 501L) })
        {
            Tensor wide = zeros(590, count),
                narrow = zeros(590, count);
            Int8Kernel.Dequantize(Data(codes), Data(scales), 512, (7, 590), (first, count), Data(wide));
            Int8Kernel.Dequantize(Data(codes), Data(scales), 512, (7, 590), (first, count), Data(narrow), wide: false);
            var expected = codes
                .view(600, 512)
                .narrow(0, 7, 590)
                .narrow(1, first, count)
                .to(ScalarType.Float32)
                .mul(scales.narrow(0, 0, 590).unsqueeze(1));
            Assert.True(wide.equal(expected).all().item<bool>() && narrow.equal(expected).all().item<bool>());
        }
    }

    [Fact]
    public void Trained_bias_gets_its_gradient()
    {
        using var scope = NewDisposeScope();
        using var bias = new Weight("b", zeros(128).requires_grad_(true));
        using var projection = Nf4Projection.Quantize(SlowNf4.Random(1, 128, 64), bias);
        var gradient = SlowNf4.Random(2, 5, 128);
        using (no_grad())
            projection.AccumulateGradients(SlowNf4.Random(3, 5, 64), gradient);
        Near.AssertRelative(gradient.sum([0]), bias.GetGradient(), 1e-6);
    }
}
