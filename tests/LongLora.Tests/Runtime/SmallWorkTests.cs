using LongLora.Configs;
using LongLora.Layers;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

/// <summary>Loops for a single token against the operators that they replace.</summary>
public sealed class SmallWorkTests
{
    [Theory]
    [InlineData(ScalarType.Float32, 576, false)]
    [InlineData(ScalarType.BFloat16, 101, true)]
    [InlineData(ScalarType.Float16, 64, true)]
    public void Norm_equals_the_one_of_operators(ScalarType type, int size, bool isOffset)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(1);
        using var weight = new Weight("norm.weight", randn(size).to(type));
        var norm = new RmsNorm(weight, 1e-5, isOffset);
        foreach (var input in new[] { randn(1, size), randn(3, size).mul(100), randn(1, 1, 9, size), zeros(1, size) })
            Compare(() => norm.Forward(input), 3e-6);
    }

    [Theory]
    [InlineData(false, 64)]
    [InlineData(true, 64)]
    [InlineData(false, 40)]
    [InlineData(true, 40)]
    public void Rotate_gives_the_bits_of_operators(bool isInterleaved, int rotated)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(2);
        var config = Config(isInterleaved, rotated);
        using var all = RotaryEmbedding.Create(config, 300);
        foreach (var (positions, rows) in new[] { (all.Narrow(250, 1), 1), (all.ForRows([3, 250, 17]), 3) })
        {
            var heads = randn(rows, 1, 5, 64);
            var few = positions.ForFewTokens(ScalarType.Float32);
            Compare(() => few.Rotate(heads), 0);
            Near.AssertEqual(positions.Rotate(heads), few.Rotate(heads), 0);
        }
    }

    [Fact]
    public void Gated_silu_equals_the_one_of_operators()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(3);
        var gated = Activations.GetGated("silu");
        var up = randn(2, 1001);
        foreach (var gate in new[] { randn(2, 1001).mul(5), full(2, 1001, 1000f), full(2, 1001, -1000f), zeros(2, 1001) })
            Compare(() => gated(gate, up), 2e-5 * gate.abs().max().item<float>());
    }

    [Fact]
    public void Fits_only_where_it_is_allowed()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        Assert.False(SmallWork.Fits(zeros(1, 8)));
        using (SmallWork.Allow(true))
        {
            Assert.True(SmallWork.Fits(zeros(1, 8)));
            Assert.False(SmallWork.Fits(zeros(1, 8, ScalarType.BFloat16)));
            Assert.False(SmallWork.Fits(zeros(1 << 16)));
            Assert.False(SmallWork.Fits(zeros(4, 8).t()));
            using (SmallWork.Allow(false))
                Assert.False(SmallWork.Fits(zeros(1, 8)));
            Assert.True(SmallWork.Fits(zeros(1, 8)));
        }
        Assert.False(SmallWork.Fits(zeros(1, 8)));
    }

    [Fact]
    public void WidenHalf_reads_every_number()
    {
        for (var bits = 0; bits <= ushort.MaxValue; bits++)
        {
            var expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            var made = StoredNumbers.WidenHalf((ushort)bits);
            Assert.True(expected.Equals(made) && float.IsNegative(expected) == float.IsNegative(made), $"{bits:x4}: {expected}, {made}");
        }
    }

    // The loop, then the operators.
    private static void Compare(Func<Tensor> compute, double tolerance)
    {
        Tensor small;
        using (SmallWork.Allow(true))
            small = compute();
        Near.AssertEqual(compute(), small, tolerance);
    }

    private static ModelConfig Config(bool isInterleaved, int rotated) =>
        new()
        {
            ModelType = "glm4",
            HiddenSize = 320,
            IntermediateSize = 8,
            LayerCount = 1,
            HeadCount = 5,
            KeyValueHeadCount = 5,
            HeadSize = 64,
            RotarySize = rotated,
            InterleavedRotation = isInterleaved,
            VocabularySize = 8,
            MaxPositions = 512,
        };
}
