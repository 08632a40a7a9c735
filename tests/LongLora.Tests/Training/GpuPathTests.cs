using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>What runs otherwise on a GPU than on the CPU, as far as it can be run without one.</summary>
public class GpuPathTests
{
    private const int Length = 600;

    private static ModelConfig Config { get; } =
        LlamaGoldenTests.TinyConfig with
        {
            LayerCount = 3,
            VocabularySize = 500,
            MaxPositions = Length,
        };

    private static Tensor Ids(int rows)
    {
        using var generator = new Generator(1, CPU);
        return randint(0, Config.VocabularySize, [rows, Length], ScalarType.Int64, generator: generator);
    }

    private static AdapterSet Attach(CausalLanguageModel model)
    {
        var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        foreach (var adapter in set.Adapters.Values)
            adapter.B.Value.uniform_(-0.1, 0.1);
        return set;
    }

    // The forward pass gives no log-sum-exps, and the backward pass goes through autograd, run by run.
    [Theory]
    [InlineData(1, false, null)]
    [InlineData(2, true, null)]
    [InlineData(1, true, 40)]
    public void Run_without_log_sum_exps_equals_plain_pass(int blocks, bool documents, int? window)
    {
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(Config with { SlidingWindow = window }, 5);
        using var set = Attach(model);
        using var parameters = new ParameterBuffer(set.Weights);
        var ids = Ids(2);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(model.Config, Length);
        var context = new ForwardContext(
            new ShiftedSparseAttention(128) { IsByAutograd = true },
            positions,
            documents
                ?
                [
                    [200, 400],
                    [Length],
                ]
                : null
        );
        var loss = PlainPass.Loss(model, ids, targets, context);
        loss.backward();
        var plain = parameters.Gradients.clone();
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model, blocks);
        var count = 2 * (Length - 1);
        Assert.Equal(loss.item<float>(), pass.ForwardBackward(ids, targets, context, 1.0 / count).item<double>() / count, 1e-5);
        Near.AssertRelative(plain, parameters.Gradients, 1e-5);
    }

    [Theory]
    [InlineData(QuantizationKind.None)]
    [InlineData(QuantizationKind.Nf4)]
    [InlineData(QuantizationKind.Int8)]
    public void Run_in_bf16_trains_fp32_weights_with_gradients_near_those_of_fp32(QuantizationKind kind)
    {
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(Config, 5, quantization: kind);
        using var set = Attach(model);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions());
        var ids = Ids(2);
        var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(model.Config, Length);
        var context = new ForwardContext(new ShiftedSparseAttention(128) { IsByAutograd = true }, positions);
        (double Loss, Tensor Gradients) Run(ScalarType type)
        {
            model.ComputeType = type;
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model);
            var loss = pass.ForwardBackward(ids, targets, context, 1.0 / Length).item<double>() / Length;
            return (loss, parameters.Gradients.clone());
        }

        var (expected, wide) = Run(ScalarType.Float32);
        var (loss, narrow) = Run(ScalarType.BFloat16);
        Assert.Equal(expected, loss, 0.01 * expected);
        Assert.Equal(ScalarType.Float32, narrow.dtype);
        Assert.True(nn.functional.cosine_similarity(wide, narrow, 0).item<float>() > 0.999f, "gradients in bf16 point elsewhere");
        Assert.All(set.Weights, w => Assert.True(w.Value.dtype == ScalarType.Float32, w.Name));
        optimizer.Step(1e-3, parameters.ComputeGradientNorm());
    }

    // A device that is not the CPU and that has no memory: every operator checks shapes and types, and nothing is computed.
    [Theory]
    [InlineData("llama")]
    [InlineData("qwen3")]
    public void Blocks_on_the_meta_device_agree_in_shapes_and_types(string family)
    {
        using var scope = NewDisposeScope();
        var config = Config with { ModelType = family };
        using var model = ModelLoader.Describe(config);
        using var set = AdapterSet.Attach(model, new AdapterOptions { TargetModules = [AdapterOptions.AllLayers] }, 3);
        using var parameters = new ParameterBuffer(set.Weights);
        using var positions = RotaryEmbedding.Create(config, Length, META);
        using var workspace = new Workspace();
        foreach (var type in new[] { ScalarType.BFloat16, ScalarType.Float32 })
        {
            foreach (var block in model.Blocks)
            {
                var context = new ForwardContext(new NoAttention(), positions);
                var hidden = empty([2, Length, config.HiddenSize], type, META);
                var attended = BlockPass.Forward(block, hidden, context, workspace);
                Assert.Null(attended.LogSumExp);
                Assert.Equal((DeviceType.META, type), (attended.Output.device_type, attended.Output.dtype));
                BlockPass.Backward(block, hidden, attended, empty_like(hidden), context, workspace);
            }
        }
        Assert.Equal(ScalarType.Float32, parameters.Gradients.dtype);
    }

    [Fact]
    public void EmptyOnHost_has_shape_strides_and_type_of_a_tensor_of_any_device()
    {
        using var scope = NewDisposeScope();
        foreach (var device in new[] { CPU, META })
        {
            var heads = empty([2, 5, 3, 4], ScalarType.BFloat16, device).transpose(1, 2);
            var host = Dispatcher.EmptyOnHost(heads, pinned: false);
            Assert.Equal((DeviceType.CPU, ScalarType.BFloat16), (host.device_type, host.dtype));
            Assert.Equal(heads.shape, host.shape);
            Assert.Equal(heads.stride(), host.stride());
        }
    }

    [Fact]
    public void AttendFolded_equals_shared_heads_with_a_mask_and_its_gradients()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(2, CPU);
        Tensor[] inputs =
        [
            randn([2, 6, 5, 8], generator: generator),
            randn([2, 2, 9, 8], generator: generator),
            randn([2, 2, 9, 8], generator: generator),
        ];
        var mask = ones([5, 9], ScalarType.Bool).tril(4);
        Tensor[] Run(Func<Tensor, Tensor, Tensor, Tensor, Tensor> attend)
        {
            var leaves = inputs.Select(x => x.clone().requires_grad_(true)).ToArray();
            var output = attend(leaves[0], leaves[1], leaves[2], mask);
            output.pow(2).sum().backward();
            return [output, .. leaves.Select(l => l.grad!)];
        }
        foreach (var (shared, folded) in Run(MaskedAttention.Attend).Zip(Run(MaskedAttention.AttendFolded)))
            Near.AssertEqual(shared, folded, 5e-6);
    }

    [Fact]
    public void Embedding_in_another_type_is_that_of_the_whole_table_tile_by_tile()
    {
        using var scope = NewDisposeScope();
        const int tokens = 9000,
            width = 512; // more than one tile
        using var generator = new Generator(3, CPU);
        using var weight = new Weight("w", randn([50, width], generator: generator));
        var ids = randint(0, 50, [1, tokens], ScalarType.Int64, generator: generator);
        var layer = new EmbeddingLayer(weight);
        var rows = layer.Forward(ids, ScalarType.BFloat16);
        Assert.True(
            weight.Value.to(ScalarType.BFloat16).index_select(0, ids.view(-1)).view(1, tokens, width).equal(rows).all().item<bool>()
        );

        weight.Value.requires_grad_(true);
        layer.Backward(ids, rows);
        var sums = zeros([50, width], ScalarType.Float64).index_add_(0, ids.view(-1), rows.view(tokens, width).to(ScalarType.Float64), 1);
        Near.AssertRelative(sums, weight.GetGradient(), 1e-5);
    }

    [Fact]
    public void AdamW_in_several_calls_gives_the_bits_of_one()
    {
        using var scope = NewDisposeScope();
        Tensor Step(long atOnce)
        {
            using var weight = new Weight("w", arange(40, ScalarType.Float32).div(7));
            using var parameters = new ParameterBuffer([weight]);
            using var optimizer = new AdamW(parameters, new AdamWOptions(WeightDecay: 0.1)) { ElementsAtOnce = atOnce };
            for (var i = 0; i < 3; i++)
            {
                parameters.Gradients.copy_(parameters.Values.cos());
                optimizer.Step(0.01, parameters.ComputeGradientNorm());
            }
            return cat([parameters.Values, optimizer.FirstMoment, optimizer.SecondMoment]);
        }
        Assert.True(Step(1 << 30).equal(Step(16)).all().item<bool>());
    }

    [Fact]
    public void Plan_for_a_device_that_is_not_there()
    {
        static TrainingPlan Plan(ComputePrecision compute, string device, ActivationOffload offload = ActivationOffload.Auto) =>
            TrainingPlan.Make(
                new ModelOptions { Path = "llama-2-7b", Context = 32768 },
                new MethodOptions(),
                new MachineOptions
                {
                    Device = device,
                    Compute = compute,
                    ActivationOffload = offload,
                },
                available: 80L << 30
            );
        var narrow = Plan(ComputePrecision.Bf16, "cuda:7");
        Assert.True(narrow.OnCuda && narrow.Fits);
        Assert.Equal(2 * narrow.Memory.Checkpoints, Plan(ComputePrecision.Tf32, "cuda:7", narrow.Offload).Memory.Checkpoints);
        Assert.Contains("cuda:N", Assert.Throws<ConfigurationException>(() => Plan(ComputePrecision.Bf16, "gpu")).Message);
    }

    /// <summary>Of the right shapes and types, and no attention: libtorch's has no form without memory.</summary>
    private sealed class NoAttention : IAttention
    {
        public IAttention WithScoreCap(double cap) => this;

        public IAttention WithSinks(LongLora.Layers.Weight sinks) => this;

        public IAttention Within(int window) => this;

        public bool KeepsLogSumExp(Device device) => false;

        public AttentionResult Forward(
            Tensor query,
            Tensor key,
            Tensor value,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null,
            AttentionResult? into = null
        ) => new(into!.Value.Output.copy_(query), null);

        public (Tensor Query, Tensor Key, Tensor Value) Backward(
            Tensor gradient,
            Tensor query,
            Tensor key,
            Tensor value,
            AttentionResult result,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null,
            (Tensor Query, Tensor Key, Tensor Value)? into = null
        )
        {
            into!.Value.Query.copy_(gradient.add(query));
            into.Value.Key.copy_(key);
            into.Value.Value.copy_(value);
            return into.Value;
        }

        public Tensor Attend(
            Tensor query,
            Tensor key,
            Tensor value,
            IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
            HeadSlice? heads = null
        ) => throw new NotSupportedException();

        public AttentionPattern MakePattern(int length) => throw new NotSupportedException();
    }
}
