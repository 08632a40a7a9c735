using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>
/// Small random models of every family against what transformers computes from them in float64 (shared/goldens/families): the config in the
/// spellings of transformers 4 and 5, hidden states of every layer, logits, loss, gradients, and tokens generated with a cache.
/// </summary>
public class FamilyGoldenTests
{
    private const int Prompt = 40;

    public static TheoryData<string> Families { get; } =
    [
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "phi3",
        "gpt_neox",
        "smollm3",
        "ministral3",
        "seed_oss",
        "olmo2",
        "granite",
        "exaone4",
        "olmo3",
        "glm4",
        "glm",
        "gemma3_text",
        "mixtral",
        "qwen3_moe",
        "gpt_oss",
        "gpt_oss_mxfp4",
        "arcee",
        "apertus",
        "cohere2",
        "hunyuan_v1_dense",
        "ernie4_5",
        "gemma2",
        "qwen3_5",
    ];

    private static string Locate(string family, string file = "") => SharedMaterial.Shared("goldens", "families", family, file);

    private static CausalLanguageModel Load(string family)
    {
        var folder = CheckpointDirectory.Open(Locate(family));
        return ModelLoader.Load(folder.Config, folder);
    }

    // Of the golden's largest number.
    private static double Measure(Tensor expected, Tensor actual)
    {
        using var scope = NewDisposeScope();
        var scale = expected.abs().max().to(ScalarType.Float64).item<double>();
        return Near.Difference(expected, actual) / Math.Max(scale, 1e-30);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Config_of_transformers_4_and_5_mean_the_same(string family)
    {
        var config = ModelConfigReader.ReadFile(Locate(family, "config.json"));
        Assert.Equivalent(config, ModelConfigReader.Parse(ModelConfigWriter.Create(config)), strict: true);
        foreach (var other in new[] { "config.v4.json", "config.published.json" })
        {
            var path = Path.Combine(Locate(family), other);
            if (File.Exists(path))
                Assert.Equivalent(config, ModelConfigReader.ReadFile(path), strict: true);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Hidden_states_logits_loss_and_gradients_equal_golden(string family)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Locate(family, "golden.safetensors"));
        using var model = Load(family);
        var ids = golden["input_ids"];
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        var context = new ForwardContext(new FullAttention(), positions);
        var differences = new Dictionary<string, double>();
        using (var workspace = new Workspace())
        {
            var hidden = model.Embedding.Forward(ids, ScalarType.Float32);
            differences["hidden.0"] = Measure(golden["hidden.0"], hidden);
            for (var i = 0; i < model.Blocks.Count; i++)
            {
                BlockPass.Forward(model.Blocks[i], hidden, context, workspace);
                differences[$"hidden.{i + 1}"] = Measure(golden[$"hidden.{i + 1}"], hidden);
            }
            differences["hidden.norm"] = Measure(golden["hidden.norm"], model.FinalNorm.Forward(hidden));
        }
        differences["logits"] = Measure(golden["logits"], model.ComputeLogits(ids, context));

        var isQuantized = model.IsQuantized;
        using var set = AdapterSet.Attach(
            model,
            isQuantized ? new AdapterOptions { Rank = 2, TargetModules = ["q_proj"] } : new AdapterOptions { TrainEverything = true },
            0
        );
        using var parameters = new ParameterBuffer(set.Weights);
        var targets = LlamaGoldenTests.Targets(ids);
        var count = targets.ge(0).sum().item<long>();
        using var pass = new CheckpointedPass(model);
        var loss = pass.ForwardBackward(ids, targets, context, 1.0 / count).item<double>() / count;
        var lossDifference = Math.Abs(golden["loss"].item<double>() - loss);
        var stored = golden.Names.Where(n => n.StartsWith("grad.", StringComparison.Ordinal)).ToHashSet();
        var gradients = set
            .Weights.Where(w => stored.Remove("grad." + w.Name))
            .ToDictionary(w => w.Name, w => Measure(golden["grad." + w.Name], w.GetGradient()));
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{family}: loss {lossDifference:E1}, hidden {differences.Where(d => d.Key != "logits").Max(d => d.Value):E1}, "
                + $"logits {differences["logits"]:E1}, gradients {gradients.Values.DefaultIfEmpty().Max():E1}"
        );
        Assert.True(lossDifference <= 1e-6, $"the loss differs by {lossDifference:G4}");
        Assert.All(differences, d => Assert.True(d.Value <= 1e-4, $"{d.Key} differs by {d.Value:G4} of its scale"));
        Assert.All(gradients, d => Assert.True(d.Value <= 1e-4, $"the gradient of {d.Key} differs by {d.Value:G4} of its scale"));
        if (!isQuantized)
            Assert.Empty(stored);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Tokens_generated_with_a_cache_equal_golden(string family)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Locate(family, "golden.safetensors"));
        using var model = Load(family);
        long[] expected = golden["greedy"].data<long>().ToArray(),
            prompt = golden["input_ids"].data<long>().ToArray()[..Prompt];
        using var positions = RotaryEmbedding.Create(model.Config, Prompt + expected.Length, null, Prompt + expected.Length);
        using var cache = new KeyValueCache(model, Prompt + expected.Length);
        var generated = new List<long>();
        using var noGradient = no_grad();
        for (var next = prompt; generated.Count < expected.Length; next = [generated[^1]])
        {
            var hidden = CachedPass.Read(model, next, cache, 0, positions);
            generated.Add(model.ApplyHead(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax(-1).item<long>());
        }
        Assert.Equal(expected, generated);
    }
}
