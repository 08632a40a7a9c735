using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>
/// Whole-model comparison with results of an independent float64 implementation (goldens/llama_tiny*): vocabulary 128, D 64, two layers,
/// four query and two key-value heads, linear RoPE x2.
/// </summary>
public class LlamaGoldenTests
{
    internal static ModelConfig TinyConfig { get; } =
        new()
        {
            ModelType = "llama",
            HiddenSize = 64,
            IntermediateSize = 176,
            LayerCount = 2,
            HeadCount = 4,
            KeyValueHeadCount = 2,
            HeadSize = 16,
            VocabularySize = 128,
            MaxPositions = 32,
            NormEpsilon = 1e-5,
            RopeScaling = new() { Kind = "linear", Factor = 2 },
            EosTokenIds = [2],
            BosTokenId = 1,
        };

    internal static CausalLanguageModel LoadTiny(ICommunicator? among = null) =>
        ModelLoader.Load(TinyConfig, GoldenTensors.Read(SharedMaterial.Golden("llama_tiny", "model.safetensors")), among: among);

    private static IAttention Attention(string name) => name == "full" ? new FullAttention() : new ShiftedSparseAttention(16);

    [Theory]
    [InlineData("full", "full", 1)]
    [InlineData("full", "full", 2)]
    [InlineData("s2_flash", "s2", 2)]
    [InlineData("s2_flash", "s2", 1)]
    [InlineData("s2_sft50", "s2", 1)]
    public void Training_pass_equals_golden(string file, string attention, int blocksPerSegment)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny", file + ".safetensors"));
        using var model = LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = true }, 0);
        using var parameters = new ParameterBuffer(set.Weights);
        AssertPass(model, golden, Attention(attention), golden["input_ids"], blocksPerSegment);
        AssertGradients(set.Weights, golden);
    }

    [Fact]
    public void Training_pass_with_masked_labels_equals_golden()
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny", "full_masked_labels.safetensors"));
        using var model = LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = true }, 0);
        using var parameters = new ParameterBuffer(set.Weights);
        var labels = golden["input_ids"].clone();
        labels.narrow(1, 0, 20).fill_(-100);
        AssertPass(model, golden, new FullAttention(), labels, 1);
        AssertGradients(set.Weights, golden);
    }

    [Theory]
    [InlineData("full", "full")]
    [InlineData("s2_flash", "s2")]
    public void Training_pass_with_lora_equals_golden(string file, string attention)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny_lora", $"grad_{file}.safetensors"));
        using var model = LoadTiny();
        using var set = AttachGolden(model);
        using var parameters = new ParameterBuffer(set.Weights);
        AssertPass(model, golden, Attention(attention), golden["input_ids"], 1);
        AssertGradients(set.Weights, golden);
    }

    [Theory]
    [InlineData("adamw_b2_0.95", 0.95, 0)]
    [InlineData("adamw_b2_0.999", 0.999, 0)]
    [InlineData("adamw_b2_0.999_clip0.1", 0.999, 0.1)]
    public void Optimizer_steps_equal_golden(string file, double beta2, double clip)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny_lora", file + ".safetensors"));
        using var model = LoadTiny();
        using var set = AttachGolden(model);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions(Beta2: beta2, MaxGradNorm: clip));
        var schedule = new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 2, 3);
        using var pass = new CheckpointedPass(model);
        for (var step = 1; step <= 3; step++)
        {
            var ids = golden[$"batch{step}"];
            using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
            var targets = Targets(ids);
            var count = targets.ge(0).sum().item<long>();
            pass.ForwardBackward(ids, targets, new ForwardContext(new ShiftedSparseAttention(16), positions), 1.0 / count);
            var norm = parameters.ComputeGradientNorm();
            Assert.Equal(golden[$"grad_norm{step}"].item<double>(), norm, 1e-5);
            optimizer.Step(1e-3 * schedule.GetFactor(step - 1), norm);
            foreach (var weight in set.Weights)
                Near.AssertEqual(
                    golden[
                        $"step{step}.{(weight.Name.Contains("lora_", StringComparison.Ordinal) ? "base_model.model." : "")}{weight.Name}"
                    ],
                    weight.Value.detach(),
                    2e-6,
                    $"step {step}: {weight.Name}"
                );
        }
    }

    private static void AssertPass(
        CausalLanguageModel model,
        GoldenTensors golden,
        IAttention attention,
        Tensor labels,
        int blocksPerSegment
    )
    {
        var ids = golden["input_ids"];
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        var context = new ForwardContext(attention, positions);
        using (no_grad())
            Near.AssertEqual(golden["logits"], model.ComputeLogits(ids, context), 1e-5, "logits");
        var targets = Targets(labels);
        var count = targets.ge(0).sum().item<long>();
        using var pass = new CheckpointedPass(model, blocksPerSegment);
        var loss = pass.ForwardBackward(ids, targets, context, 1.0 / count).item<double>() / count;
        Assert.Equal(golden["loss"].item<double>(), loss, 1e-6);
    }

    // Label t is the target of position t - 1; the last position has none.
    internal static Tensor Targets(Tensor labels) =>
        cat([labels.narrow(1, 1, labels.size(1) - 1), full([labels.size(0), 1], -100, ScalarType.Int64)], 1).flatten();

    private static void AssertGradients(IReadOnlyList<Weight> weights, GoldenTensors golden)
    {
        Assert.Equal(golden.Names.Count(n => n.StartsWith("grad.", StringComparison.Ordinal)), weights.Count);
        foreach (var weight in weights)
            Near.AssertRelative(golden["grad." + GoldenName(weight.Name)], weight.GetGradient(), 1e-4, weight.Name);
    }

    private static string GoldenName(string name) =>
        name.Replace("lora_A.weight", "lora_A", StringComparison.Ordinal).Replace("lora_B.weight", "lora_B", StringComparison.Ordinal);

    internal static AdapterSet AttachGolden(CausalLanguageModel model)
    {
        var golden = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny_lora", "adapter_model.safetensors"));
        var set = AdapterSet.Attach(model, new AdapterOptions(), 0);
        foreach (var weight in set.Weights.Where(w => w.Name.Contains("lora_", StringComparison.Ordinal)))
            weight.Replace(golden["base_model.model." + weight.Name]);
        return set;
    }
}
