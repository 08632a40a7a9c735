using LongLora.Configs;
using LongLora.Layers;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

/// <summary>Loops that replace chains of operators, against fp64 autograd or the bits of the operators.</summary>
[Collection(nameof(ThreadCounts))]
public sealed class HostLoopTests
{
    [Theory]
    [InlineData(ScalarType.Float32, 576, false)]
    [InlineData(ScalarType.BFloat16, 101, true)]
    [InlineData(ScalarType.Float16, 64, true)]
    [InlineData(null, 7, false)]
    public void Norm_equals_autograd_in_fp64(ScalarType? type, int size, bool isOffset)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        using var weight = type is { } stored ? new Weight("norm.weight", randn(size).to(stored)) : null;
        if (type == ScalarType.Float32)
            weight!.Value.requires_grad_(true);
        INormLayer norm = new RmsNorm(weight, 1e-5, isOffset);
        foreach (var input in new[] { randn(1, size), randn(300, size).mul(100), randn(2, 30, 9, size).transpose(1, 2), zeros(1, size) })
        {
            var gradient = randn(input.shape);
            var leaf = input.to(ScalarType.Float64).detach().requires_grad_(true);
            var scale = weight?.Value.detach().to(ScalarType.Float64).requires_grad_(true) ?? ones(size, ScalarType.Float64);
            var expected = leaf / ((leaf * leaf).mean([-1], keepdim: true) + 1e-5).sqrt() * (isOffset ? scale + 1 : scale);
            expected.backward([gradient.to(ScalarType.Float64)]);

            Tensor output;
            using (no_grad())
                output = norm.Forward(input);
            AssertNear(expected, output);
            AssertNear(leaf.grad!, norm.Backward(input, gradient));
            if (weight?.IsTrained == true)
            {
                AssertNear(scale.grad!, weight.GetGradient());
                weight.GetGradient().zero_();
            }
        }
    }

    [Fact]
    public void Norm_depends_neither_on_threads_nor_on_other_rows()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(2);
        using var weight = new Weight("norm.weight", randn(96));
        weight.Value.requires_grad_(true);
        var norm = new RmsNorm(weight, 1e-5);
        var (input, gradient) = (randn(1000, 96), randn(1000, 96));
        var (whole, inner, own) = (norm.Forward(input), norm.Backward(input, gradient), weight.GetGradient().clone());

        Near.AssertEqual(whole.narrow(0, 333, 100), norm.Forward(input.narrow(0, 333, 100)), 0);
        Near.AssertEqual(inner.narrow(0, 333, 100), norm.Backward(input.narrow(0, 333, 100), gradient.narrow(0, 333, 100)), 0);
        weight.GetGradient().zero_();
        OnThreads(1, () => norm.Backward(input, gradient));
        Near.AssertEqual(own, weight.GetGradient(), 0);
    }

    [Theory]
    [InlineData("silu")]
    [InlineData("gelu")]
    public void Gated_activation_equals_autograd_in_fp64(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(3);
        var activation = new GatedActivation(name);
        // Halves of one matrix, as of a layer that gives both.
        var both = randn(70, 2 * 1001).mul(5);
        both[0].fill_(1000);
        both[1].fill_(-1000);
        both[2].fill_(0);
        var (gate, up, gradient) = (both.narrow(1, 0, 1001), both.narrow(1, 1001, 1001), randn(70, 1001));
        var (gateLeaf, upLeaf) = (Wide(gate), Wide(up));
        var expected = (name == "silu" ? nn.functional.silu(gateLeaf) : nn.functional.gelu(gateLeaf)).mul(upLeaf);
        expected.backward([gradient.to(ScalarType.Float64)]);

        var gradients = empty_like(both);
        var (ofGate, ofUp) = (gradients.narrow(1, 0, 1001), gradients.narrow(1, 1001, 1001));
        activation.Backward(gate, up, gradient, ofGate, ofUp);
        using var noGradient = no_grad();
        AssertNear(expected, activation.Forward(gate, up));
        AssertNear(expected, activation.Forward(gate.contiguous(), up.contiguous()));
        AssertNear(gateLeaf.grad!, ofGate);
        AssertNear(upLeaf.grad!, ofUp);

        static Tensor Wide(Tensor tensor) => tensor.to(ScalarType.Float64).detach().requires_grad_(true);
    }

    [Theory]
    [InlineData(false, 64)]
    [InlineData(true, 64)]
    [InlineData(false, 40)]
    [InlineData(true, 40)]
    public void Rotate_gives_the_bits_of_operators(bool isInterleaved, int rotated)
    {
        using var scope = NewDisposeScope();
        manual_seed(4);
        using var all = RotaryEmbedding.Create(MakeConfig(isInterleaved, rotated), 300);
        using var documents = all.At(randint(0, 300, [2, 50]));
        foreach (
            var (positions, rows) in new[]
            {
                (all.Narrow(250, 1), 1),
                (all.ForRows([3, 250, 17]), 3),
                (all.Narrow(9, 50), 2),
                (documents, 2),
            }
        )
        {
            var heads = randn(rows, positions.Length, 5, 64);
            // Autograd needs the operators.
            var (forward, back) = (
                positions.Rotate(heads.clone().requires_grad_(true)),
                positions.RotateBack(heads.clone().requires_grad_(true))
            );
            using var noGradient = no_grad();
            Near.AssertEqual(forward, positions.Rotate(heads), 0);
            Near.AssertEqual(forward, positions.Rotate(heads.transpose(1, 2).contiguous().transpose(1, 2)), 0);
            Near.AssertEqual(back, positions.RotateBack(heads), 0);
            Near.AssertEqual(heads, positions.RotateBack(positions.Rotate(heads)), 2e-6);
        }
    }

    [Theory]
    [InlineData(5)]
    [InlineData(2_048)]
    [InlineData(50_001)]
    public unsafe void Cross_entropy_of_a_row_equals_autograd_in_fp64(int size)
    {
        using var scope = NewDisposeScope();
        manual_seed(5);
        foreach (var factor in new[] { 0.0, 3, 300 })
        {
            var logits = randn(size).mul(factor);
            var leaf = logits.to(ScalarType.Float64).requires_grad_(true);
            var loss = leaf.logsumexp(0) - leaf[size - 2];
            loss.mul(0.25).backward();
            var made = SoftmaxRow.Differentiate((float*)NativeTensor.GetPointer(logits), size, size - 2, 0.25f);
            Assert.Equal(loss.item<double>(), made, 1e-6 * Math.Max(1, Math.Abs(made)));
            Assert.InRange((leaf.grad! - logits).abs().max().item<double>(), 0, 1e-7);
        }
    }

    [Fact]
    public unsafe void What_is_no_number_stays_none()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        foreach (var at in new[] { 3, 99 })
        {
            var bad = randn(1, 100);
            bad[0, at].fill_(float.NaN);
            using var weight = new Weight("norm.weight", ones(100));
            Assert.True(new RmsNorm(weight, 1e-5).Forward(bad)[0, 50].isnan().item<bool>());
            Assert.True(new GatedActivation("silu").Forward(bad, ones(1, 100))[0, at].isnan().item<bool>());
            Assert.True(double.IsNaN(SoftmaxRow.Differentiate((float*)NativeTensor.GetPointer(bad), 100, 7, 1)));
        }
    }

    // An odd size, so that there is a rest behind the last vector.
    [Theory]
    [InlineData(37)]
    [InlineData(256)]
    public void Loops_in_bf16_round_what_they_give_in_fp32(int size)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(6);
        using var weight = new Weight("norm.weight", randn(size));
        weight.Value.requires_grad_(true);
        var (norm, activation) = (new RmsNorm(weight, 1e-5), new GatedActivation("silu"));
        using var positions = RotaryEmbedding.Create(MakeConfig(isInterleaved: false, 64), 60);
        Tensor[] inputs = [.. Enumerable.Range(0, 3).Select(_ => randn(200, size).to(ScalarType.BFloat16))];
        var heads = randn(2, 60, 5, 64).to(ScalarType.BFloat16);

        List<Tensor> Run(ScalarType type)
        {
            var (x, y, z) = (inputs[0].to(type), inputs[1].to(type), inputs[2].to(type));
            var (ofGate, ofUp) = (empty_like(x), empty_like(x));
            weight.GetGradient().zero_();
            activation.Backward(x, y, z, ofGate, ofUp);
            List<Tensor> made =
            [
                norm.Forward(x),
                norm.Backward(x, y),
                activation.Forward(x, y),
                ofGate,
                ofUp,
                positions.Rotate(heads.to(type)),
                positions.RotateBack(heads.to(type)),
            ];
            Assert.All(made, m => Assert.Equal(type, m.dtype));
            var sums = ones(200, size);
            sums.AddScaled(y, 0.5);
            return [.. made, weight.GetGradient().clone(), sums];
        }

        foreach (var (expected, made) in Run(ScalarType.Float32).Zip(Run(ScalarType.BFloat16)))
            Near.AssertEqual(expected.to(made.dtype), made, 0);
    }

    // Every upper half with lower halves around those that decide.
    [Fact]
    public unsafe void Rounding_to_bf16_gives_the_bits_of_libtorch()
    {
        using var scope = NewDisposeScope();
        uint[] lower = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
        float[] numbers =
        [
            .. Enumerable.Range(0, 1 << 16).SelectMany(u => lower.Select(l => BitConverter.UInt32BitsToSingle((uint)u << 16 | l))),
        ];
        var expected = tensor(numbers).to(ScalarType.BFloat16);
        var made = empty(numbers.Length, ScalarType.BFloat16);
        var to = NativeTensor.GetPointer(made);
        fixed (float* from = numbers)
        {
            StoredNumbers.Write(from, 1, numbers.Length - 1, ScalarType.BFloat16, to);
            StoredNumbers.Write(from + numbers.Length - 1, 1, 1, ScalarType.BFloat16, to + 2 * (numbers.Length - 1));
        }
        ushort* wanted = (ushort*)NativeTensor.GetPointer(expected),
            given = (ushort*)to;
        for (var i = 0; i < numbers.Length; i++)
            Assert.True(
                float.IsNaN(numbers[i]) ? (given[i] & 0x7FFF) > 0x7F80 : given[i] == wanted[i],
                $"{numbers[i]:R} became {given[i]:X4}, not {wanted[i]:X4}"
            );
        var error = Assert.Throws<ShapeException>(() => StoredNumbers.Write((float*)to, 1, 1, ScalarType.Int8, to));
        Assert.Contains("Int8", error.Message, StringComparison.Ordinal);
    }

    private static void OnThreads(int count, Action action)
    {
        var before = get_num_threads();
        set_num_threads(count);
        try
        {
            action();
        }
        finally
        {
            set_num_threads(before);
        }
    }

    // To a few units in the last place of the largest number.
    private static void AssertNear(Tensor expected, Tensor made) =>
        Near.AssertEqual(expected.detach().to(ScalarType.Float32), made, 3e-6 * Math.Max(1, expected.abs().max().item<double>()));

    private static ModelConfig MakeConfig(bool isInterleaved, int rotated) =>
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
