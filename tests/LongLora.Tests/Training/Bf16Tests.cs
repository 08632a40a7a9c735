using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Evaluation;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Training on the CPU with activations and products in bf16, beside the same in fp32.</summary>
public sealed class Bf16Tests : IDisposable
{
    private const int Length = 600;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string Bundled => Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");

    private static ModelConfig Config { get; } =
        LlamaGoldenTests.TinyConfig with
        {
            LayerCount = 3,
            VocabularySize = 500,
            MaxPositions = Length,
        };

    // The largest rounding of one product is 2^-9 of its result; a gradient has passed some dozens of them with random signs.
    private const double WholeTensorBound = 0.02;

    [Theory]
    [InlineData("s2", "lora-plus", false)]
    [InlineData("s2", "lora-plus", true)]
    [InlineData("full", "lora-plus", false)]
    [InlineData("full", "full", true)]
    [InlineData("s2", "full", false)]
    [InlineData("window", "lora-plus", false)]
    [InlineData("capped", "lora-plus", false)]
    public void Gradients_are_those_of_fp32_up_to_the_rounding_of_bf16(string attention, string tuning, bool documents)
    {
        using var scope = NewDisposeScope();
        var config = Config with { SlidingWindow = attention == "window" ? 40 : null };
        using var model = ModelLoader.Create(config, 5);
        using var set = AdapterSet.Attach(
            model,
            tuning == "full" ? new AdapterOptions { TrainEverything = true } : new AdapterOptions(),
            3
        );
        foreach (var adapter in set.Adapters.Values)
            adapter.B.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        IAttention pattern = attention == "full" ? new FullAttention() : new ShiftedSparseAttention(128);
        if (attention == "capped")
            pattern = pattern.WithScoreCap(5);
        var (expected, wide) = Run(model, parameters, pattern, ScalarType.Float32, documents);
        var (loss, narrow) = Run(model, parameters, pattern, ScalarType.BFloat16, documents);
        Assert.Equal(ScalarType.Float32, narrow.dtype);
        Assert.Equal(expected, loss, 1e-3 * expected);
        Assert.InRange(MeasureDistance(wide, narrow), 1e-6, WholeTensorBound);
        // Each weight by itself, so that a wrong one does not hide behind large others.
        foreach (var (name, offset, shape) in parameters.Layout)
        {
            Tensor Own(Tensor all) => all.narrow(0, offset, shape.Aggregate(1L, (product, size) => product * size));
            Assert.True(
                MeasureDistance(Own(wide), Own(narrow)) < 3 * WholeTensorBound,
                $"{name}: {MeasureDistance(Own(wide), Own(narrow)):G3}"
            );
        }
    }

    // Any other order of rounding would show in some of the last bits.
    [Theory]
    [InlineData(0)]
    [InlineData(65_000)]
    public void Positions_are_rotated_in_fp32_and_rounded_once(int start)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(4, CPU);
        using var positions = RotaryEmbedding.Create(Config, 64, start: start);
        var heads = randn([2, 64, Config.HeadCount, Config.HeadSize], generator: generator).to(ScalarType.BFloat16);
        foreach (
            var (wide, narrow) in new[]
            {
                (positions.Rotate(heads.to(ScalarType.Float32)), positions.Rotate(heads)),
                (positions.RotateBack(heads.to(ScalarType.Float32)), positions.RotateBack(heads)),
                (positions.Rotate(heads.to(ScalarType.Float32)), positions.ForFewTokens(ScalarType.BFloat16).Rotate(heads)),
            }
        )
        {
            Assert.Equal(ScalarType.BFloat16, narrow.dtype);
            Assert.True(narrow.equal(wide.to(ScalarType.BFloat16)).all().item<bool>());
        }
    }

    [Theory]
    [InlineData(ScalarType.Float32, false)]
    [InlineData(ScalarType.Float16, false)]
    [InlineData(ScalarType.Float32, true)]
    public void Frozen_matrices_are_held_in_bf16_once_and_give_the_bits_of_converting_each_time(ScalarType stored, bool tied)
    {
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(Config with { TiedEmbeddings = tied, AttentionBias = true }, 5, type: stored);
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEmbeddings = false, TrainNorms = false }, 3);
        foreach (var adapter in set.Adapters.Values)
            adapter.B.Value.uniform_(-0.1, 0.1);
        using var parameters = new ParameterBuffer(set.Weights);
        var attention = new ShiftedSparseAttention(128);
        var (expected, gradients) = Run(model, parameters, attention, ScalarType.BFloat16, documents: false);
        model.ComputeType = ScalarType.Float32;
        ProductWeights.HoldFrozen(model); // nothing to do
        Assert.All(model.Linears, l => Assert.Equal(stored, ((DenseProjection)l.Projection).Weight.Value.dtype));
        model.ComputeType = ScalarType.BFloat16;
        ProductWeights.HoldFrozen(model);
        Assert.All(model.Linears, l => Assert.Equal(ScalarType.BFloat16, ((DenseProjection)l.Projection).Weight.Value.dtype));
        Assert.Equal(ScalarType.BFloat16, ((DenseProjection)model.Head.Projection).Weight.Value.dtype);
        Assert.All(set.Weights, w => Assert.Equal(ScalarType.Float32, w.Value.dtype));
        var (loss, held) = Run(model, parameters, attention, ScalarType.BFloat16, documents: false);
        Assert.Equal(expected, loss);
        Assert.True(gradients.equal(held).all().item<bool>());
    }

    [Fact]
    public void Prepared_matrix_gives_the_bits_of_converting_each_time_and_leaves_graphs_to_the_values()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(4, CPU);
        using var weight = new Weight("w", randn([24, 16], generator: generator).requires_grad_(true));
        var layer = new DenseProjection(weight);
        var rows = randn([40, 16], generator: generator).to(ScalarType.BFloat16);
        var gradient = randn([40, 24], generator: generator).to(ScalarType.BFloat16);
        (Tensor, Tensor) Multiply()
        {
            using var noGradient = no_grad();
            return (layer.Forward(rows), layer.ComputeInputGradient(gradient, new FeatureSlice(3, 9)));
        }
        var (forward, backward) = Multiply();
        layer.Prepare(ScalarType.BFloat16);
        var (preparedForward, preparedBackward) = Multiply();
        Assert.True(forward.equal(preparedForward).all().item<bool>() && backward.equal(preparedBackward).all().item<bool>());
        layer.Forward(rows).backward([gradient]);
        Assert.True(weight.Value.grad!.abs().max().item<float>() > 0);
        // A copy that is out of date would show here.
        using (no_grad())
            weight.Value.mul_(2);
        layer.Forget();
        Assert.True(Multiply().Item1.equal(forward.mul(2)).all().item<bool>());
    }

    [Theory]
    [InlineData("bundled")]
    [InlineData("stories")]
    public void Perplexity_after_a_run_is_that_of_fp32_within_3_per_mille(string which)
    {
        var model = which == "bundled" ? Bundled : SharedMaterial.Golden("stories260K-hf");
        const int context = 512;
        var text = WriteText(60_000);
        double Train(ComputePrecision compute)
        {
            var options = MakeOptions(model, context, text, compute.ToString());
            options = options with
            {
                Machine = options.Machine with { Compute = compute },
                Optimizer = options.Optimizer with { Steps = 16, LearningRate = 5e-4 },
            };
            FineTune.Run(options);
            using var loaded = LoadedModel.Open(
                model,
                new LoadOptions
                {
                    Adapter = Path.Combine(options.Run.Output, "adapter"),
                    Device = "cpu",
                    Compute = compute,
                }
            );
            Assert.Equal(compute == ComputePrecision.Bf16 ? ScalarType.BFloat16 : ScalarType.Float32, loaded.Network.ComputeType);
            using var tokens = TokensOf(loaded, text);
            return Perplexity.Evaluate(loaded.Network, tokens, context, PerplexityProtocol.Document).Perplexity;
        }
        var (wide, narrow) = (Train(ComputePrecision.Fp32), Train(ComputePrecision.Bf16));
        Assert.NotEqual(wide, narrow);
        Assert.InRange(narrow / wide, 1 - 0.003, 1 + 0.003);
    }

    [Fact]
    public void Run_in_bf16_is_resumed_to_the_same_bits_and_keeps_its_format()
    {
        var text = WriteText(60_000);
        FineTuneOptions Make(string output, ComputePrecision compute)
        {
            var options = MakeOptions(Bundled, 512, text, output);
            return options with { Machine = options.Machine with { Compute = compute }, Run = options.Run with { SaveEvery = 1 } };
        }
        var straight = FineTune.Run(Make("straight", ComputePrecision.Bf16));
        var broken = Make("broken", ComputePrecision.Bf16);
        using var source = new CancellationTokenSource();
        var stop = new Stop(source);
        Assert.ThrowsAny<OperationCanceledException>(() => FineTune.Run(broken, stop, cancellation: source.Token));
        // Not asked for any more, and on most processors not chosen either.
        var resumed = Make("broken", ComputePrecision.Auto);
        var notices = new List<string>();
        var result = FineTune.Run(resumed with { Run = resumed.Run with { Resume = true } }, notices: new Told(notices));
        Assert.Empty(notices);
        Assert.Contains("compute: bf16\n", File.ReadAllText(Path.Combine(broken.Run.Output, "recipe.yaml")), StringComparison.Ordinal);
        Assert.Equal(ReadAdapter(straight), ReadAdapter(result));

        // Another format is a matter of rounding: the run goes on, and says so.
        var other = Make("broken", ComputePrecision.Fp32);
        other = other with
        {
            Optimizer = other.Optimizer with { Steps = other.Optimizer.Steps + 1 },
            Run = other.Run with { Resume = true },
        };
        FineTune.Run(other, notices: new Told(notices));
        Assert.Contains("bf16", Assert.Single(notices), StringComparison.Ordinal);
        Assert.Contains("compute: fp32\n", File.ReadAllText(Path.Combine(broken.Run.Output, "recipe.yaml")), StringComparison.Ordinal);
    }

    // A recipe of an earlier version says what CUDA would compute in; the CPU computed in fp32.
    [Theory]
    [InlineData("cuda-compute: bf16\n")]
    [InlineData("")]
    public void Run_of_an_earlier_version_goes_on_in_fp32(string line)
    {
        var text = WriteText(60_000);
        var options = MakeOptions(Bundled, 512, text, "run");
        options = options with { Run = options.Run with { SaveEvery = 1 } };
        FineTune.Run(options with { Machine = options.Machine with { Compute = ComputePrecision.Fp32 } });
        var recipe = Path.Combine(options.Run.Output, "recipe.yaml");
        File.WriteAllText(recipe, File.ReadAllText(recipe).Replace("compute: fp32\n", line, StringComparison.Ordinal));
        FineTune.Run(
            options with
            {
                Optimizer = options.Optimizer with { Steps = options.Optimizer.Steps + 1 },
                Run = options.Run with { Resume = true },
            }
        );
        Assert.Contains("\ncompute: fp32\n", File.ReadAllText(recipe), StringComparison.Ordinal);
    }

    private static (double Loss, Tensor Gradients) Run(
        CausalLanguageModel model,
        ParameterBuffer parameters,
        IAttention attention,
        ScalarType type,
        bool documents
    )
    {
        using var generator = new Generator(1, CPU);
        var ids = randint(0, Config.VocabularySize, [2, Length], ScalarType.Int64, generator: generator);
        using var positions = RotaryEmbedding.Create(model.Config, Length);
        IReadOnlyList<IReadOnlyList<int>>? packed = documents
            ?
            [
                [200, 400],
                [Length],
            ]
            : null;
        model.ComputeType = type;
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model);
        var count = 2 * (Length - 1);
        var loss = pass.ForwardBackward(ids, LlamaGoldenTests.Targets(ids), new ForwardContext(attention, positions, packed), 1.0 / count);
        return (loss.item<double>() / count, parameters.Gradients.clone());
    }

    private static double MeasureDistance(Tensor expected, Tensor actual) =>
        ((actual - expected).norm() / expected.norm().clamp_min(1e-30)).item<float>();

    private string WriteText(int characters)
    {
        var path = _folder["text.txt"];
        using var reader = new StreamReader(Path.Combine(AppContext.BaseDirectory, "LongLora.xml"));
        var buffer = new char[characters];
        File.WriteAllText(path, new string(buffer, 0, reader.ReadBlock(buffer)));
        return path;
    }

    private FineTuneOptions MakeOptions(string model, int context, string text, string output) =>
        new()
        {
            Model = new() { Path = model, Context = context },
            Data = new() { Sources = [text] },
            Optimizer = new()
            {
                Steps = 4,
                GradientAccumulation = 1,
                LearningRate = 1e-3,
                WarmupSteps = 2,
            },
            Machine = new() { Device = "cpu" },
            Run = new() { Output = _folder[output] },
        };

    private static LongLora.Data.TokenStore TokensOf(LoadedModel loaded, string text) =>
        LongLora.Data.TokenStore.Build(
            new FineTuneGoldenTests.MemorySource([.. loaded.Tokenizer!.Encode(File.ReadAllText(text).AsSpan(0, 12_000))]),
            null
        );

    private static byte[] ReadAdapter(FineTuneResult result) => File.ReadAllBytes(Path.Combine(result.Result, "adapter_model.safetensors"));

    private sealed class Stop(CancellationTokenSource source) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value)
        {
            if (value.Step == 2)
                source.Cancel();
        }
    }

    private sealed class Told(List<string> lines) : IProgress<string>
    {
        public void Report(string value) => lines.Add(value);
    }
}
