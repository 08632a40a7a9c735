using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Everything that saves memory or time, together in many ways: loss and gradients are those of the plain pass.</summary>
public class CombinationTests
{
    private static readonly (int Heads, int Shared)[] s_heads = [(4, 4), (4, 2), (6, 3), (4, 1)];

    // Every value meets most values of every other one. Rows of 700 tokens are two tiles of the MLP, and two chunks of logits at 20,000
    // ids.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(10)]
    [InlineData(11)]
    [InlineData(12)]
    public void Run_with_any_combination_equals_plain_pass(int seed)
    {
        var random = new Random(seed);
        T Choose<T>(params T[] values) => values[random.Next(values.Length)];
        var (heads, shared) = Choose(s_heads);
        var (batch, length, blocks) = (Choose(1, 2), Choose(700, 513), Choose(1, 2, 3));
        var kind = (QuantizationKind)(seed % 3);
        var offload = seed / 3 % 2 == 0 ? ActivationOffload.Disk : ActivationOffload.None;
        var (documents, tied, window, full) = (
            Choose(false, true),
            Choose(false, true),
            Choose<int?>(null, null, 100),
            Choose(false, false, true)
        );
        var everything = kind == QuantizationKind.None && Choose(false, true);
        var what =
            $"{heads}/{shared} heads, {batch} x {length}, {blocks} blocks, {kind}, {offload}, documents {documents}, tied {tied}, "
            + $"window {window}, full {full}, everything {everything}";

        using var scope = NewDisposeScope();
        var config = LlamaGoldenTests.TinyConfig with
        {
            LayerCount = 3,
            HeadCount = heads,
            KeyValueHeadCount = shared,
            HiddenSize = heads * 16,
            VocabularySize = 20_000,
            TiedEmbeddings = tied,
            SlidingWindow = window,
            MaxPositions = 700,
        };
        using var model = ModelLoader.Create(config, seed, quantization: kind);
        using var set = AdapterSet.Attach(
            model,
            new AdapterOptions
            {
                TrainEverything = everything,
                TargetModules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            },
            3
        );
        foreach (var adapter in set.Adapters.Values)
            adapter.B.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        using var generator = new Generator((ulong)seed, CPU);
        var ids = randint(0, config.VocabularySize, [batch, length], ScalarType.Int64, generator: generator);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(config, length);
        IReadOnlyList<int>[] rows =
        [
            [length / 3, length - length / 3],
            [length],
        ];
        var context = new ForwardContext(
            full ? new FullAttention() : new ShiftedSparseAttention(128),
            positions,
            documents ? rows[..batch] : null
        );
        var loss = PlainPass.Loss(model, ids, targets, context);
        loss.backward();
        var plain = parameters.Gradients.clone();
        parameters.ClearGradients();

        using var pass = new CheckpointedPass(model, blocks, offload);
        var count = batch * (length - 1);
        Assert.True(
            Math.Abs(loss.item<float>() - pass.ForwardBackward(ids, targets, context, 1.0 / count).item<double>() / count) < 1e-5,
            what
        );
        foreach (var (name, offset, shape) in parameters.Layout)
        {
            var size = shape.Aggregate(1L, (product, s) => product * s);
            Near.AssertRelative(plain.narrow(0, offset, size), parameters.Gradients.narrow(0, offset, size), 1e-4, $"{name} ({what})");
        }
        Near.AssertRelative(plain, parameters.Gradients, 1e-5, what);
    }
}
