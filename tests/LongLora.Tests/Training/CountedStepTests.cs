using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>
/// The counts of <see cref="StepFlops"/> against a step in which every matrix counts the products that it is asked for. What autograd
/// does behind an output that has a graph is counted where the output is made.
/// </summary>
public class CountedStepTests
{
    private const int Group = 16,
        Rank = 4;

    private sealed class Counter
    {
        internal double Flops { get; private set; }

        internal void Product(long rows, long inner, long columns, int times = 1) => Flops += 2.0 * rows * inner * columns * times;
    }

    // A product with r rows makes DoRA's norms, which are not counted.
    private sealed class CountedProjection(IProjection inner, LinearLayer layer, Counter counter) : IProjection
    {
        public Weight? Bias => inner.Bias;

        public IReadOnlyList<StoredTensor> Stored => inner.Stored;

        private bool IsTrained => inner is DenseProjection { Weight.IsTrained: true };

        public Tensor Forward(Tensor rows, FeatureSlice? outputs = null)
        {
            if (rows.size(0) == Rank)
                return inner.Forward(rows, outputs);
            var graph = is_grad_enabled() && (rows.requires_grad || IsTrained);
            counter.Product(
                rows.size(0),
                layer.InputSize,
                outputs?.Count ?? layer.OutputSize,
                1 + (graph && rows.requires_grad ? 1 : 0) + (graph && IsTrained ? 1 : 0)
            );
            return inner.Forward(rows, outputs);
        }

        public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
        {
            if (IsTrained)
                counter.Product(gradient.size(1), rows.size(0), rows.size(1));
            inner.AccumulateGradients(rows, gradient, outputs);
        }

        public Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
        {
            counter.Product(gradient.size(0), gradient.size(1), inputs?.Count ?? layer.InputSize);
            return inner.ComputeInputGradient(gradient, inputs, outputs);
        }

        public Tensor ToDense() => inner.ToDense();
    }

    private sealed class CountedUpdate(ILinearUpdate inner, LinearLayer layer, Counter counter) : ILinearUpdate
    {
        public Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
        {
            // With a graph, backward makes the gradients of both factors and both inputs: two more products of each size.
            Pair(rows.size(0), outputs, is_grad_enabled() ? 3 : 1);
            if (inner is ResidualLoraAdapter) // a frozen pair
                Pair(rows.size(0), outputs, is_grad_enabled() ? 2 : 1);
            return inner.Forward(projection, rows, outputs);
        }

        public void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
        {
            counter.Product(rows.size(0), layer.InputSize, Rank, 2); // x Aᵀ, and (g B)ᵀ x
            counter.Product(rows.size(0), Rank, gradient.size(1), 2); // gᵀ (x Aᵀ), and g B
            if (inner is DoraAdapter) // the output once more
                Pair(rows.size(0), outputs, 1);
            inner.AccumulateGradients(projection, rows, gradient, outputs);
        }

        public Tensor ComputeInputGradient(
            IProjection projection,
            Tensor gradient,
            FeatureSlice? inputs = null,
            FeatureSlice? outputs = null
        )
        {
            var pairs = inner is ResidualLoraAdapter ? 2 : 1;
            counter.Product(gradient.size(0), gradient.size(1), Rank, pairs);
            counter.Product(gradient.size(0), Rank, inputs?.Count ?? layer.InputSize, pairs);
            return inner.ComputeInputGradient(projection, gradient, inputs, outputs);
        }

        public Tensor Merge(IProjection projection) => inner.Merge(projection);

        private void Pair(long rows, FeatureSlice? outputs, int times)
        {
            counter.Product(rows, layer.InputSize, Rank, times);
            counter.Product(rows, Rank, outputs?.Count ?? layer.OutputSize, times);
        }
    }

    [Theory]
    [InlineData("llama", 100, 2, 1, true)]
    [InlineData("llama", 100, 2, 1, false)]
    [InlineData("llama", 100, 2, 2, false)]
    [InlineData("llama", 34_000, 1, 2, false)] // heads in two passes
    [InlineData("qwen3", 100, 2, 1, false)]
    [InlineData("phi3", 100, 2, 1, false)]
    [InlineData("phi3", 17_000, 2, 1, false)]
    [InlineData("gpt_neox", 100, 2, 1, false)]
    [InlineData("llama", 100, 2, 1, false, AdapterKind.Dora)]
    [InlineData("llama", 34_000, 1, 2, false, AdapterKind.Dora)]
    [InlineData("phi3", 100, 2, 2, false, AdapterKind.Dora)]
    [InlineData("gpt_neox", 100, 2, 1, true, AdapterKind.Dora)]
    [InlineData("llama", 100, 2, 2, false, AdapterKind.Pissa)]
    [InlineData("qwen3", 34_000, 1, 1, false, AdapterKind.Pissa)]
    [InlineData("llama", 100, 2, 1, false, AdapterKind.Lora, long.MaxValue)]
    [InlineData("llama", 100, 2, 1, true, AdapterKind.Lora, 100_000)]
    [InlineData("llama", 100, 2, 2, false, AdapterKind.Lora, long.MaxValue)]
    [InlineData("llama", 34_000, 1, 2, false, AdapterKind.Dora, long.MaxValue)]
    [InlineData("qwen3", 100, 2, 1, false, AdapterKind.Pissa, long.MaxValue)]
    [InlineData("gpt_neox", 100, 2, 1, true, AdapterKind.Lora, long.MaxValue)]
    [InlineData("phi3", 17_000, 2, 1, false, AdapterKind.Lora, 50_000_000)]
    public void Count_equals_the_products_that_a_step_asks_for(
        string family,
        int length,
        int batch,
        int blocksPerSegment,
        bool attentionAlone,
        AdapterKind kind = AdapterKind.Lora,
        long keptBytes = 0
    )
    {
        using var scope = NewDisposeScope();
        var config = LlamaGoldenTests.TinyConfig with { ModelType = family, IntermediateSize = 24, VocabularySize = 16 };
        if (family == "gpt_neox")
            config = config with { KeyValueHeadCount = 4, Activation = "gelu", ParallelResidual = true };
        using var model = ModelLoader.Create(config, 1);
        string[] targets = attentionAlone ? [AdapterOptions.AttentionLayers] : [.. model.Linears.Select(l => l.Name)];
        var tuning = new AdapterOptions
        {
            Rank = Rank,
            Kind = kind,
            TargetModules = targets,
        };
        using var adapters = AdapterSet.Attach(model, tuning, 1);
        using var parameters = new ParameterBuffer(adapters.Weights);
        var counter = new Counter();
        foreach (var layer in model.Linears)
        {
            layer.Projection = new CountedProjection(layer.Projection, layer, counter);
            if (layer.Update is { } update)
                layer.Update = new CountedUpdate(update, layer, counter);
        }

        using var pass = new CheckpointedPass(model, blocksPerSegment, keptBytes: keptBytes);
        using var positions = RotaryEmbedding.Create(config, length);
        var ids = zeros([batch, length], ScalarType.Int64);
        var attention = new ShiftedSparseAttention(Group);
        pass.ForwardBackward(ids, ids.flatten(), new ForwardContext(attention, positions), 1);

        var kept = ActivationPlan.Make(model, (long)batch * length, keptBytes, blocksPerSegment, cuda: false, size: 4);
        Assert.Equal(keptBytes > 0, kept.Bytes > 0);
        var expected = StepFlops.Count(config, attention, tuning, length, batch, blocksPerSegment, cuda: false, kept);
        var scores = 2.0 * batch * config.HeadCount * config.HeadSize * config.LayerCount * attention.MakePattern(length).PairsPerHead;
        // 2 forward, 4 backward; the scores again, and the forward pass again
        var attentions = (6 + 1 + (blocksPerSegment > 1 ? 2 : 0)) * scores;
        Assert.Equal(expected.Needed + expected.Recomputed - attentions, counter.Flops, 1e-9 * counter.Flops);
    }
}
