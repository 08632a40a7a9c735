using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Training;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>
/// What must hold under every attention, on a trained model. What every family must do stands in <see cref="FamilyContractTests"/>.
/// </summary>
public class InvariantTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    private static Tensor Ids(int length)
    {
        using var generator = new Generator(9, CPU);
        return randint(3, 500, [1, length], ScalarType.Int64, generator: generator);
    }

    private static Tensor Logits(CausalLanguageModel model, Tensor ids, IAttention attention)
    {
        using var noGradient = no_grad();
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        return model.ComputeLogits(ids, new ForwardContext(attention, positions));
    }

    public static TheoryData<string> Attentions { get; } = ["full", "grouped", "dilated", "shifted-sparse"];

    private static IAttention Attention(string name) =>
        name switch
        {
            "full" => new FullAttention(),
            "grouped" => new GroupedAttention(16),
            "dilated" => new DilatedAttention(16),
            _ => new ShiftedSparseAttention(16),
        };

    [Theory]
    [InlineData(512)]
    [InlineData(-1)]
    [InlineData(99_999_999)]
    public void A_token_that_the_model_does_not_have_is_refused(int unknown)
    {
        using var scope = NewDisposeScope();
        using var model = FineTuneGoldenTests.LoadStories();
        int[] ids = [1, 5, unknown, 9];
        long[] wide = [.. ids];
        using var positions = RotaryEmbedding.Create(model.Config, ids.Length);
        using var cache = new KeyValueCache(model, ids.Length);
        Action[] ways =
        [
            () => AnswerLoss.Evaluate(model, [new TrainingExample(ids, null, "x")]),
            () => CachedPass.Read(model, wide, cache, 0, positions),
            () =>
                new CheckpointedPass(model).ForwardBackward(
                    tensor(wide, [1, ids.Length]),
                    tensor(wide, [1, ids.Length]),
                    new ForwardContext(new FullAttention(), positions),
                    1
                ),
        ];
        foreach (var way in ways)
        {
            var refused = Assert.Throws<DataException>(way);
            Assert.Equal($"Token 2 is {unknown}, but the model has ids 0 to 511.", refused.Message);
        }
    }

    [Theory]
    [MemberData(nameof(Attentions))]
    public void Logits_changing_a_token_changes_no_earlier_one(string attention)
    {
        using var scope = NewDisposeScope();
        using var model = FineTuneGoldenTests.LoadStories();
        var ids = Ids(70);
        var before = Logits(model, ids, Attention(attention));
        foreach (var t in new[] { 1, 8, 16, 17, 40, 69 })
        {
            var changed = ids.clone();
            changed[0, t] = 2;
            var difference = (Logits(model, changed, Attention(attention)) - before).abs().amax([0, 2]);
            Assert.Equal(0f, difference.narrow(0, 0, t).max().item<float>());
            Assert.NotEqual(0f, difference[t].item<float>());
        }
    }

    [Fact]
    public void Logits_of_a_new_adapter_are_those_of_the_base_to_the_bit()
    {
        using var scope = NewDisposeScope();
        using var model = FineTuneGoldenTests.LoadStories();
        var ids = Ids(40);
        var before = Logits(model, ids, new FullAttention());
        using (AdapterSet.Attach(model, new AdapterOptions(), 5))
            Assert.True(before.equal(Logits(model, ids, new FullAttention())).all().item<bool>());
    }

    [Fact]
    public void Save_and_load_and_merge_keep_the_logits()
    {
        using var scope = NewDisposeScope();
        var ids = Ids(600);
        Tensor attached;
        using (var model = FineTuneGoldenTests.LoadStories(c => RopeScaling.Extend(c, "auto", null, 2048)))
        using (var origin = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf")))
        {
            using var set = AdapterSet.Attach(model, new AdapterOptions(), 5);
            foreach (var weight in set.Weights)
                weight.Value.add_(randn_like(weight.Value).mul_(0.02));
            attached = Logits(model, ids, new FullAttention());
            PeftFormat.Write(Path.Combine(_folder, "adapter"), set, model, "base");
            HuggingFaceExporter.Write(Path.Combine(_folder, "merged"), model, origin);
        }

        var adapter = new LoadOptions { Adapter = Path.Combine(_folder, "adapter"), Device = "cpu" };
        using (var loaded = LoadedModel.Open(SharedMaterial.Golden("stories260K-hf"), adapter))
        {
            Assert.Equal(
                ("yarn", 4.0, 2048),
                (loaded.Config.RopeScaling.Kind, loaded.Config.RopeScaling.Factor, loaded.Config.MaxPositions)
            );
            Assert.True(
                attached.equal(Logits(loaded.Network, ids, new FullAttention())).all().item<bool>(),
                "the saved adapter gives other bits"
            );
            // The ways of a C# caller: logits without tables of positions, an export of what was opened.
            foreach (var attention in new IAttention[] { new FullAttention(), new ShiftedSparseAttention(150) })
                Assert.True(Logits(loaded.Network, ids, attention).equal(loaded.Network.ComputeLogits(ids, attention)).all().item<bool>());
            HuggingFaceExporter.Write(Path.Combine(_folder, "of-loaded"), loaded);
            HuggingFaceExporter.Write(Path.Combine(_folder, "of-loaded"), loaded);
            File.WriteAllText(Path.Combine(_folder, "of-loaded", "thesis.docx"), "years of work");
            Assert.Throws<ConfigurationException>(() => HuggingFaceExporter.Write(Path.Combine(_folder, "of-loaded"), loaded));
            File.Delete(Path.Combine(_folder, "of-loaded", "thesis.docx"));
        }

        var folder = CheckpointDirectory.Open(Path.Combine(_folder, "merged"));
        using (var merged = ModelLoader.Load(folder.Config, folder))
        {
            Near.AssertRelative(attached, Logits(merged, ids, new FullAttention()), 5e-6, "merged");
            using var again = CheckpointDirectory.Open(Path.Combine(_folder, "merged"));
            HuggingFaceExporter.Write(Path.Combine(_folder, "copy"), merged, again);
        }
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(_folder, "merged", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(_folder, "of-loaded", "model.safetensors"))
        );
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(_folder, "merged", "model.safetensors")),
            File.ReadAllBytes(Path.Combine(_folder, "copy", "model.safetensors"))
        );
    }

    [Fact]
    public void Attach_adapter_of_the_golden_equals_its_merged_weights()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = PeftFormat.Attach(SharedMaterial.Golden("llama_tiny_lora"), model);
        using var merged = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny_lora", "merged.safetensors"));
        Assert.Equal(8, set.Adapters.Count);
        foreach (var layer in model.Linears.Where(l => l.Update is not null))
            Near.AssertEqual(merged[layer.Name + ".weight"], layer.Merge(), 1e-6, layer.Name);
    }

    [Fact]
    public void Logits_of_stories260K_equal_golden_and_tell_the_published_story()
    {
        using var scope = NewDisposeScope();
        using var model = FineTuneGoldenTests.LoadStories();
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("stories260K_forward.safetensors"));
        // Both sides are fp32, and logits go up to 18.
        Near.AssertRelative(golden["logits"], Logits(model, golden["input_ids"], new FullAttention())[0], 5e-6);
        // Teacher forcing: each greedy token is the most likely one after those before it.
        var story = golden["greedy_ids"].unsqueeze(0);
        var best = Logits(model, story, new FullAttention())[0].argmax(1);
        Assert.True(best.narrow(0, 0, story.size(1) - 1).equal(story[0].narrow(0, 1, story.size(1) - 1)).all().item<bool>());
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, 0.05)]
    [InlineData(ScalarType.Float16, 0.01)]
    public void Logits_of_16_bit_weights_are_near_and_the_weights_stay_16_bit(ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var wide = FineTuneGoldenTests.LoadStories();
        using var origin = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
        SafetensorsWriter.WriteModel(
            _folder,
            [.. origin.Tensors.Keys.Select(n => new TensorToWrite(n, type, origin.Tensors[n].Shape, () => origin.Open(n)))]
        );
        File.WriteAllText(Path.Combine(_folder, "config.json"), origin.ConfigText);
        var folder = CheckpointDirectory.Open(_folder);
        using var narrow = ModelLoader.Load(folder.Config, folder);
        Assert.All(narrow.Weights, w => Assert.Equal(type, w.Value.dtype));
        Near.AssertEqual(Logits(wide, Ids(50), new FullAttention()), Logits(narrow, Ids(50), new FullAttention()), tolerance * 10);
        HuggingFaceExporter.Write(Path.Combine(_folder, "out"), narrow, folder);
        using var copy = CheckpointDirectory.Open(Path.Combine(_folder, "out"));
        Assert.All(copy.Tensors.Values, t => Assert.Equal(type, t.Type));
    }

    public void Dispose()
    {
        Directory.Delete(_folder, recursive: true);
        GC.SuppressFinalize(this);
    }
}
