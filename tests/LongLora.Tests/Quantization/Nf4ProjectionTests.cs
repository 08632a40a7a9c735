using System.Runtime.Intrinsics.X86;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Quantization;

public class Nf4ProjectionTests
{
    // Whole blocks, blocks across rows, a short last block, an odd count, several groups of scales.
    public static TheoryData<int, int> Shapes =>
        new()
        {
            { 64, 64 },
            { 172, 64 },
            { 64, 172 },
            { 7, 9 },
            { 33, 130 },
            { 600, 192 },
            { 1, 1 },
        };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Quantize_equals_nearest_value_of_each_block(int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        var weight = SlowNf4.Random(outputs, outputs, inputs);
        using var projection = Nf4Projection.Quantize(weight);
        var stored = SlowNf4.Tensors(projection.ToStoredTensors("w"));
        var (codes, magnitudes) = SlowNf4.Quantize([.. weight.data<float>()]);

        var bytes = stored["w.weight"].data<byte>().ToArray();
        Assert.Equal([(codes.Length + 1) / 2, 1], stored["w.weight"].shape);
        Assert.Equal(codes, codes.Select((_, i) => i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15));

        // The second quantisation keeps each magnitude to half a step of its group's largest deviation from the mean.
        var back = SlowNf4.Dequantize(stored, "w.weight");
        var mean = magnitudes.Average();
        for (var i = 0; i < codes.Length; i++)
        {
            var block = i / 64;
            var deviation = magnitudes.Skip(block / 256 * 256).Take(256).Max(m => Math.Abs(m - mean));
            Assert.Equal(SlowNf4.Table[codes[i]] * magnitudes[block], back[i], 0.0071 * deviation + 1e-7 * mean);
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Dequantize_every_way_equals_table_lookup_to_the_bit(int outputs, int inputs)
    {
        using var scope = NewDisposeScope();
        using var projection = Nf4Projection.Quantize(SlowNf4.Random(3, outputs, inputs));
        var expected = tensor(SlowNf4.Dequantize(SlowNf4.Tensors(projection.ToStoredTensors("w")), "w.weight")).view(outputs, inputs);
        void AssertSame(Tensor actual, Tensor wanted, string what) =>
            Assert.True(actual.shape.SequenceEqual(wanted.shape) && actual.equal(wanted).all().item<bool>(), what);

        AssertSame(projection.ToDense(), expected, "whole");
        foreach (
            var (firstRow, rows, firstColumn, columns) in new[]
            {
                (0, outputs, 0, inputs),
                (outputs / 3, outputs - outputs / 3, 0, inputs),
                (outputs / 2, 1, inputs / 3, inputs - inputs / 3),
                (0, outputs, inputs / 2, 1),
            }
        )
        {
            var wanted = expected.narrow(0, firstRow, rows).narrow(1, firstColumn, columns);
            AssertSame(projection.DequantizeByLookup((firstRow, rows), (firstColumn, columns)), wanted, "tensor operations");
            foreach (var level in Levels())
                AssertSame(
                    projection.DequantizeOnCpu((firstRow, rows), (firstColumn, columns), level),
                    wanted,
                    $"{level} [{firstRow}+{rows}, {firstColumn}+{columns}]"
                );
        }
    }

    [Fact]
    public void Dequantize_large_matrix_on_several_cores_equals_lookup()
    {
        using var scope = NewDisposeScope();
        using var projection = Nf4Projection.Quantize(SlowNf4.Random(5, 1000, 1111));
        Assert.True(projection.ToDense().equal(projection.DequantizeByLookup((0, 1000), (0, 1111))).all().item<bool>());
        Assert.True(
            projection
                .DequantizeOnCpu((3, 990), (5, 1001), Nf4Kernel.Best)
                .equal(projection.DequantizeByLookup((3, 990), (5, 1001)))
                .all()
                .item<bool>()
        );
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.Float64)]
    public void Quantize_other_types_equals_their_values_in_fp32(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var weight = SlowNf4.Random(5, 96, 80).to(type);
        using var narrow = Nf4Projection.Quantize(weight);
        using var wide = Nf4Projection.Quantize(weight.to(ScalarType.Float32));
        Assert.True(narrow.ToDense().equal(wide.ToDense()).all().item<bool>());
        Assert.Equal(type, narrow.OriginalType);
    }

    [Fact]
    public void Quantize_zeros_gives_zeros()
    {
        using var scope = NewDisposeScope();
        var weight = SlowNf4.Random(5, 4, 64);
        weight[1].zero_();
        using var projection = Nf4Projection.Quantize(weight);
        Assert.Equal(0, projection.ToDense()[1].abs().max().item<float>());
        using var nothing = Nf4Projection.Quantize(zeros(4, 64));
        Assert.Equal(0, nothing.ToDense().abs().max().item<float>());
    }

    [Fact]
    public void Quantize_of_what_has_no_matrix_is_refused()
    {
        using var scope = NewDisposeScope();
        Assert.Contains("[64]", Assert.Throws<ShapeException>(() => Nf4Projection.Quantize(zeros(64))).Message);
    }

    [Fact]
    public void Byte_count_of_a_7B_layer_is_about_half_a_byte_a_weight()
    {
        using var scope = NewDisposeScope();
        using var projection = Nf4Projection.Quantize(SlowNf4.Random(1, 4096, 1024));
        Assert.InRange((double)projection.ByteCount / (4096 * 1024), 0.5, 0.517);
    }

    internal static IEnumerable<Nf4KernelLevel> Levels()
    {
        yield return Nf4KernelLevel.Scalar;
        if (Avx2.IsSupported)
            yield return Nf4KernelLevel.Avx2;
        if (Avx512F.IsSupported)
            yield return Nf4KernelLevel.Avx512;
    }
}
