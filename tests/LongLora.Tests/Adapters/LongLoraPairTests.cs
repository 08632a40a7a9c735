using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Tests.Adapters;

public class LongLoraPairTests
{
    private const string Table = "model.embed_tokens.weight",
        Head = "lm_head.weight";

    private static string Pair => SharedMaterial.Golden("torch", "longlora_pair");

    [Fact]
    public void Attach_published_pair_gives_LoRA_trained_weights_padding_row_and_context()
    {
        using var scope = NewDisposeScope();
        using var trained = GoldenTensors.Read(SharedMaterial.Golden("torch", "longlora_pair", "trained.safetensors"));
        using var merged = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny_lora", "merged.safetensors"));
        using var origin = CheckpointDirectory.Open(s_tiny);
        using var head = origin.Open(Head);
        using var loaded = Open(Pair, new AdapterReading { Context = 128 });
        var (model, set) = (loaded.Network, loaded.Adapter!);

        Assert.Equal(129, model.Config.VocabularySize);
        Assert.Equal(128, model.Config.MaxPositions);
        Assert.Equal(4, model.Config.RopeScaling.Factor);
        Assert.Equal(trained.Names.Order(), set.ModelWeights.Select(w => w.Name).Order());
        foreach (var weight in set.ModelWeights)
            Near.AssertEqual(trained[weight.Name], weight.Value, 0, weight.Name);
        var newHead = model.Weights.Single(w => w.Name == Head).Value;
        Near.AssertEqual(head, newHead[..128], 0, "old rows of the head");
        Near.AssertEqual(head.mean([0]), newHead[128], 1e-7, "new row of the head");
        foreach (var layer in model.Linears.Where(l => set.Adapters.ContainsKey(l.Name)))
            Near.AssertEqual(merged[layer.Name + ".weight"], layer.Merge(), 1e-6, layer.Name);
        using var positions = RotaryEmbedding.Create(model.Config, 3);
        using var logits = model.ComputeLogits(
            tensor(new long[] { 1, 5, 128 }).unsqueeze(0),
            new ForwardContext(new FullAttention(), positions)
        );
        Assert.Equal([1, 3, 129], logits.shape);
    }

    [Fact]
    public void Attach_published_pair_without_context_says_that_it_is_not_known()
    {
        Assert.Contains("Set adapter-context", Assert.Throws<ConfigurationException>(() => Open(Pair, null)).Message);
    }

    [Fact]
    public void Attach_keep_vocabulary_leaves_the_padding_row_aside()
    {
        using var scope = NewDisposeScope();
        using var trained = GoldenTensors.Read(SharedMaterial.Golden("torch", "longlora_pair", "trained.safetensors"));
        using var loaded = Open(Pair, new AdapterReading { Context = 64, KeepVocabulary = true });
        var model = loaded.Network;
        Assert.Equal(128, model.Config.VocabularySize);
        Near.AssertEqual(trained[Table][..128], model.Embedding.Weight.Value, 0);
        Assert.Equal([128, 64], model.Weights.Single(w => w.Name == Head).Shape);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Write_pair_then_Attach_gives_the_same_model(bool paddingRow)
    {
        using var scope = NewDisposeScope();
        using var output = new TemporaryFolder();
        using var loaded = Open(Pair, new AdapterReading { Context = 128, KeepVocabulary = true });
        var (model, set) = (loaded.Network, loaded.Adapter!);
        LongLoraPair.Write(output.Root, set, model, "base", paddingRow);
        Assert.Equal(
            ["adapter_config.json", "adapter_model.bin", "longlora_model.json", "trainable_params.bin"],
            Directory.GetFiles(output.Root).Select(Path.GetFileName).Order()
        );

        using var reopened = Open(output.Root, new AdapterReading { Context = 128 });
        var (again, read) = (reopened.Network, reopened.Adapter!);
        Assert.Equal(paddingRow ? 129 : 128, again.Config.VocabularySize);
        Assert.Equal(
            ModelConfigWriter.DescribePositions(model.Config).ToJsonString(),
            ModelConfigWriter.DescribePositions(again.Config).ToJsonString()
        );
        foreach (var (before, after) in set.Weights.Zip(read.Weights))
            Near.AssertEqual(before.Value, before.Name == Table ? after.Value[..128] : after.Value, 0, before.Name);
        if (paddingRow)
            Near.AssertEqual(model.Embedding.Weight.Value.mean([0]), again.Embedding.Weight.Value[128], 1e-7, "[PAD]");
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("dynamic")]
    [InlineData("yarn")]
    [InlineData("by-length")]
    [InlineData("default")]
    public void Written_pair_comes_back_with_the_positions_it_was_trained_with(string kind)
    {
        using TemporaryFolder output = new(),
            origin = new();
        foreach (var file in Directory.GetFiles(s_tiny))
            File.Copy(file, origin[Path.GetFileName(file)]);
        var config = JsonNode.Parse(File.ReadAllText(origin["config.json"]))!.AsObject();
        config["rope_scaling"] = null;
        origin.Text("config.json", config.ToJsonString());
        LoadedModel Open(string adapter, AdapterReading? reading) =>
            LoadedModel.Open(
                origin.Root,
                new LoadOptions
                {
                    Adapter = adapter,
                    AdapterReading = reading,
                    Device = "cpu",
                }
            );
        var stated = new AdapterReading
        {
            Context = 128,
            Scaling = kind,
            KeepVocabulary = true,
        };
        string positions;
        using (var loaded = Open(Pair, stated))
        {
            positions = ModelConfigWriter.DescribePositions(loaded.Config).ToJsonString();
            LongLoraPair.Write(output.Root, loaded.Adapter!, loaded.Network, "base", paddingRow: false);
            Assert.False(loaded.Adapter!.AssumesLinear);
            Assert.Equal(
                kind == "linear",
                LongLoraPair.AgreesWithScripts(loaded.Config, ModelConfigReader.ReadFile(origin["config.json"]))
            );
        }
        void AssertSame(AdapterReading? reading)
        {
            using var again = Open(output.Root, reading);
            Assert.Equal(positions, ModelConfigWriter.DescribePositions(again.Config).ToJsonString());
            Assert.False(again.Adapter!.AssumesLinear);
        }
        AssertSame(null);
        AssertSame(stated);
        AssertSame(new AdapterReading { Context = 128 });
        var other = new AdapterReading { Context = 256 };
        Assert.Contains("adapter-context 256", Assert.Throws<ConfigurationException>(() => Open(output.Root, other)).Message);
        other = new AdapterReading { Scaling = kind == "yarn" ? "linear" : "yarn" };
        Assert.Contains("adapter-scaling", Assert.Throws<ConfigurationException>(() => Open(output.Root, other)).Message);

        File.Delete(output["longlora_model.json"]); // like LongLoRA's own files
        AssertSame(stated);
        Assert.Contains("Set adapter-context", Assert.Throws<ConfigurationException>(() => Open(output.Root, null)).Message);
        Assert.Contains("Set adapter-context", Assert.Throws<ConfigurationException>(() => Open(output.Root, other)).Message);
        using var assumed = Open(output.Root, new AdapterReading { Context = 128 });
        Assert.Equal("linear", assumed.Config.RopeScaling.Kind);
        Assert.True(assumed.Adapter!.AssumesLinear);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("{\"rope_scaling\": 3}")]
    public void Positions_that_are_damaged_are_refused(string text)
    {
        using var output = new TemporaryFolder();
        foreach (var file in Directory.GetFiles(Pair))
            File.Copy(file, output[Path.GetFileName(file)]);
        output.Text("longlora_model.json", text);
        Assert.Contains("longlora_model", Assert.Throws<CheckpointException>(() => Open(output.Root, null)).Message);
    }

    [Fact]
    public void Merge_of_a_resized_vocabulary_gives_a_folder_that_loads_with_its_padding_token()
    {
        using var scope = NewDisposeScope();
        using var output = new TemporaryFolder();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
        using var model = ModelLoader.Load(folder.Config, folder);
        model.ResizeVocabulary(513);
        HuggingFaceExporter.Write(output["merged"], model, folder);

        var merged = CheckpointDirectory.Open(output["merged"]);
        Assert.Equal(513, merged.Config.VocabularySize);
        Assert.Equal(513, (int)JsonNode.Parse(merged.ConfigText)!["vocab_size"]!);
        using var again = ModelLoader.Load(merged.Config, merged);
        Near.AssertEqual(model.Embedding.Weight.Value, again.Embedding.Weight.Value, 0);
        var (before, after) = (TokenizerLoader.Load(folder.Path), TokenizerLoader.Load(output["merged"]));
        Assert.Equal(512, before.VocabularySize);
        Assert.Equal(513, after.VocabularySize);
        Assert.Equal(512, after.PadTokenId);
        const string text = "Once upon a time [PAD] there was";
        Assert.Equal(before.Encode(text), after.Encode(text));
    }

    [Fact]
    public void Summary_of_the_pair_counts_both_files()
    {
        var summary = CheckpointSummary.Read(Pair);
        Assert.Equal(22, summary.Tensors.Count);
        Assert.Contains(summary.Facts, f => f.Name == "context" && f.Value.Contains("as adapter-context", StringComparison.Ordinal));
        Assert.Contains(summary.Facts, f => f.Name == "fully trained" && f.Value.StartsWith("6 weights", StringComparison.Ordinal));
    }

    private static readonly string s_tiny = SharedMaterial.Golden("llama_tiny");

    private static LoadedModel Open(string adapter, AdapterReading? reading) =>
        LoadedModel.Open(
            s_tiny,
            new LoadOptions
            {
                Adapter = adapter,
                AdapterReading = reading,
                Device = "cpu",
            }
        );
}
