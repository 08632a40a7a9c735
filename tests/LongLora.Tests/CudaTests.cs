using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Tokenization;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests;

/// <summary>
/// The whole path on a GPU against the CPU, whose results are held against references elsewhere; skipped where there is none. What can
/// differ on the CPU too, bf16 and the places where things wait, also runs there, so that the tests are known to work before they meet a
/// GPU.
/// </summary>
public sealed class CudaTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string, string, ComputePrecision, QuantizationKind> Steps
    {
        get
        {
            var data = new TheoryData<string, string, ComputePrecision, QuantizationKind>();
            foreach (var family in FamilyContractTests.Families)
                data.Add("cuda", family.Data, ComputePrecision.Fp32, QuantizationKind.None);
            data.Add("cuda", "llama_tiny", ComputePrecision.Tf32, QuantizationKind.None);
            data.Add("cuda", "llama_tiny", ComputePrecision.Fp32, QuantizationKind.Nf4);
            data.Add("cuda", "llama_tiny", ComputePrecision.Fp32, QuantizationKind.Int8);
            foreach (var device in new[] { "cpu", "cuda" })
            {
                data.Add(device, "llama_tiny", ComputePrecision.Bf16, QuantizationKind.None);
                data.Add(device, "llama_tiny", ComputePrecision.Bf16, QuantizationKind.Nf4);
            }
            return data;
        }
    }

    private static Device Require(string name)
    {
        LibTorch.EnsureLoaded();
        Assert.SkipUnless(name == "cpu" || cuda.is_available(), "there is no CUDA device, or the build has no libtorch with CUDA");
        return new Device(name);
    }

    // Loss and gradients of two rows, one of them two documents, with S²-Attn; on the CPU.
    private static (double Loss, Tensor Gradients) Step(
        string family,
        Device device,
        ComputePrecision compute,
        QuantizationKind quantization,
        ActivationOffload offload = ActivationOffload.None
    )
    {
        using var scratch = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(FamilyContractTests.Locate(scratch, family));
        using var model = ModelLoader.Load(folder.Config, folder, device, quantization);
        model.ComputeIn(compute);
        if (compute == ComputePrecision.Bf16)
            model.ComputeType = ScalarType.BFloat16;
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using (var generator = new Generator(8, CPU))
        {
            foreach (var weight in set.Weights.Where(w => w.Name.EndsWith("lora_B.weight", StringComparison.Ordinal)))
                weight.Value.copy_(randn([.. weight.Shape], generator: generator).mul_(0.05));
        }
        using var parameters = new ParameterBuffer(set.Weights);
        using var ids = randint(0, model.Config.VocabularySize, [2, 50], ScalarType.Int64, generator: new Generator(5, CPU)).to(device);
        using var targets = LlamaGoldenTests.Targets(ids);
        using var positions = RotaryEmbedding.Create(model.Config, 50, device);
        using var pass = new CheckpointedPass(model, 1, offload);
        var loss =
            pass.ForwardBackward(
                    ids,
                    targets,
                    new ForwardContext(
                        new ShiftedSparseAttention(16),
                        positions,
                        [
                            [20, 30],
                            [50],
                        ]
                    ),
                    1.0 / 98
                )
                .item<double>() / 98;
        return (loss, parameters.Gradients.cpu().clone());
    }

    [Theory]
    [MemberData(nameof(Steps))]
    public void Step_equals_that_of_the_CPU(string device, string family, ComputePrecision compute, QuantizationKind quantization)
    {
        var place = Require(device);
        using var scope = NewDisposeScope();
        var expected = Step(family, CPU, ComputePrecision.Fp32, quantization);
        var seen = Step(family, place, compute, quantization);
        // 24, 11 and 8 bits of mantissa, through two blocks and back.
        var (loss, share) = compute switch
        {
            ComputePrecision.Fp32 => (1e-5, 1e-4),
            ComputePrecision.Tf32 => (2e-3, 5e-3),
            _ => (1e-2, 5e-2),
        };
        Assert.Equal(expected.Loss, seen.Loss, loss);
        var distance = (expected.Gradients - seen.Gradients).norm().item<float>() / expected.Gradients.norm().item<float>();
        Assert.True(distance <= share, $"gradients differ by {distance:G3} of their norm, {share:G3} is allowed");
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void Activations_that_wait_elsewhere_come_back_with_the_same_bits(string device)
    {
        var place = Require(device);
        using var scope = NewDisposeScope();
        var expected = Step("llama_tiny", place, ComputePrecision.Bf16, QuantizationKind.None);
        foreach (var offload in new[] { ActivationOffload.Host, ActivationOffload.Disk, ActivationOffload.Auto })
        {
            var seen = Step("llama_tiny", place, ComputePrecision.Bf16, QuantizationKind.None, offload);
            Assert.Equal(expected.Loss, seen.Loss);
            Assert.True(expected.Gradients.equal(seen.Gradients).all().item<bool>(), $"{offload} changes bits");
        }
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda")]
    public void Run_from_files_to_an_adapter_resumes_and_learns(string device)
    {
        Require(device);
        var text = _folder.Text(
            "text.txt",
            string.Concat(Enumerable.Range(0, 400).Select(i => $"The cat sat on the mat and saw {i % 7} birds. "))
        );
        var options = new FineTuneOptions
        {
            Model = new() { Path = SharedMaterial.Golden("stories260K-hf"), Context = 1024 },
            Data = new() { Sources = [text] },
            Optimizer = new()
            {
                Steps = 6,
                GradientAccumulation = 1,
                LearningRate = 5e-3,
                WarmupSteps = 0,
            },
            Run = new() { Output = _folder["run"], SaveEvery = 3 },
            Machine = new() { Device = device, ActivationOffload = ActivationOffload.Host },
        };
        FineTune.Run(options with { Optimizer = options.Optimizer with { Steps = 3 } });
        var losses = new List<TrainingStep>();
        var result = FineTune.Run(options with { Run = options.Run with { Resume = true } }, new Now(losses.Add));
        Assert.Equal([4, 5, 6], losses.Select(s => s.Step));
        Assert.All(losses, step => Assert.True(step.MemoryBytes > 0 && step.PeakMemoryBytes >= step.MemoryBytes));
        Assert.True(losses[^1].Loss < 3, $"loss {losses[^1].Loss}");
        Assert.True(File.Exists(Path.Combine(result.Result, "adapter_model.safetensors")));
    }

    [Theory]
    [InlineData("cpu", KeyValueType.BF16)]
    [InlineData("cuda", KeyValueType.F32)]
    [InlineData("cuda", KeyValueType.BF16)]
    public void Greedy_text_equals_that_of_the_CPU(string device, KeyValueType type)
    {
        var place = Require(device);
        string Text(Device where, KeyValueType kept)
        {
            var folder = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
            using var model = ModelLoader.Load(folder.Config, folder, where);
            model.ComputeIn(ComputePrecision.Fp32);
            using var generator = new TextGenerator(model, TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf")), cacheType: kept);
            return generator.Generate("Once upon a time", new GenerationOptions { MaxTokens = 40 }).Text;
        }
        Assert.Equal(Text(CPU, KeyValueType.F32), Text(place, type));
    }

    private sealed class Now(Action<TrainingStep> told) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value) => told(value);
    }
}
