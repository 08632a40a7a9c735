using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Export;

/// <summary>The split base with the plain adapter on it computes what base and adapter compute.</summary>
public sealed class SplitExportTests : IDisposable
{
    private static readonly string s_stories = SharedMaterial.Golden("stories260K-hf");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Output => _folder["split"];

    [Theory]
    [InlineData(AdapterKind.Lora, false, AdapterOptions.AttentionLayers, 1024)]
    [InlineData(AdapterKind.Lora, true, AdapterOptions.AllLayers, 512)]
    [InlineData(AdapterKind.Pissa, false, "q_proj", 1024)]
    public void Split_base_and_adapter_give_the_logits_of_the_model(AdapterKind kind, bool isStabilized, string targets, int context)
    {
        var adapter = WriteAdapter(
            new AdapterOptions
            {
                Rank = 4,
                Alpha = 12,
                Kind = kind,
                RankStabilized = isStabilized,
                TargetModules = [targets],
            },
            context
        );
        using var scope = NewDisposeScope();
        Tensor whole;
        using (var model = LoadedModel.Open(s_stories, new LoadOptions { Adapter = adapter, Device = "cpu" }))
        {
            whole = Logits(model);
            SplitExporter.Write(Output, model, new ExportOptions());
            Near.AssertEqual(whole, Logits(model), 0, "the model is left as it was");
        }
        using var split = LoadedModel.Open(
            _folder["split", "base"],
            new LoadOptions { Adapter = _folder["split", "adapter"], Device = "cpu" }
        );
        Near.AssertEqual(whole, Logits(split), isStabilized || kind == AdapterKind.Pissa ? 1e-6 * 30 : 0, "split");
        using var bare = LoadedModel.Open(_folder["split", "base"], new LoadOptions { Device = "cpu" });
        Assert.Equal(context, RopeScaling.GetCurrentContext(bare.Config)); // an engine reads the positions from the base
        Assert.True(Near.Difference(whole, Logits(bare)) > 1e-2, "the adapter does nothing");

        var config = JsonNode.Parse(File.ReadAllText(_folder["split", "adapter", "adapter_config.json"]))!.AsObject();
        Assert.Null(config["modules_to_save"]);
        Assert.Equal(Path.Combine(Output, "base"), (string?)config["base_model_name_or_path"]);
        Assert.Equal("none", (string?)config["bias"]);
        Assert.False(config.ContainsKey("use_rslora"));
        using var file = new SafetensorsReader(_folder["split", "adapter", "adapter_model.safetensors"]);
        Assert.All(file.Tensors.Keys, name => Assert.Matches(@"\.lora_[AB]\.weight$", name));
    }

    [Fact]
    public void Layers_of_other_rank_and_scale_keep_their_update()
    {
        var adapter = WriteAdapter(
            new AdapterOptions
            {
                Rank = 4,
                Alpha = 12,
                TargetModules = ["q_proj", "v_proj"],
            },
            1024
        );
        var file = Path.Combine(adapter, "adapter_config.json");
        var config = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        config["alpha_pattern"] = new JsonObject { ["v_proj"] = 5, ["layers.1.self_attn.q_proj"] = 40 };
        File.WriteAllText(file, config.ToJsonString());
        using var scope = NewDisposeScope();
        using var model = LoadedModel.Open(s_stories, new LoadOptions { Adapter = adapter, Device = "cpu" });
        SplitExporter.Write(Output, model, new ExportOptions());
        using var split = LoadedModel.Open(
            _folder["split", "base"],
            new LoadOptions { Adapter = _folder["split", "adapter"], Device = "cpu" }
        );
        Near.AssertEqual(Logits(model), Logits(split), 3e-5, "split");
        Assert.DoesNotContain(
            "alpha_pattern",
            File.ReadAllText(_folder["split", "adapter", "adapter_config.json"]),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Plain_adapter_on_the_bases_positions_needs_no_split()
    {
        var options = new AdapterOptions { TrainEmbeddings = false, TrainNorms = false };
        using (var model = LoadedModel.Open(s_stories, new LoadOptions { Adapter = WriteAdapter(options, 512), Device = "cpu" }))
        {
            var refused = Assert.Throws<ConfigurationException>(() => SplitExporter.Write(Output, model, new ExportOptions()));
            Assert.Contains("engines load it as it is", refused.Message, StringComparison.Ordinal);
        }
        // On other positions it does: nothing else would tell the engine.
        using var longer = LoadedModel.Open(s_stories, new LoadOptions { Adapter = WriteAdapter(options, 1024), Device = "cpu" });
        SplitExporter.Write(Output, longer, new ExportOptions());
        Assert.Contains("1024", File.ReadAllText(_folder["split", "base", "config.json"]), StringComparison.Ordinal);
    }

    [Fact]
    public void Dora_cannot_be_split()
    {
        var adapter = WriteAdapter(new AdapterOptions { Kind = AdapterKind.Dora }, 1024);
        using var model = LoadedModel.Open(s_stories, new LoadOptions { Adapter = adapter, Device = "cpu" });
        var refused = Assert.Throws<ConfigurationException>(() => SplitExporter.Write(Output, model, new ExportOptions()));
        Assert.Contains("magnitudes (DoRA)", refused.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Output));
    }

    // An adapter whose every part does something.
    private string WriteAdapter(AdapterOptions options, int context)
    {
        var folder = CheckpointDirectory.Open(s_stories);
        using var model = ModelLoader.Load(RopeScaling.Extend(folder.Config, "linear", null, context), folder);
        using var set = AdapterSet.Attach(model, options, 1);
        using (no_grad())
        using (var generator = new Generator(7, CPU))
        {
            foreach (var weight in set.Weights)
            {
                using var noise = zeros_like(weight.Value).normal_(0, 0.02, generator);
                weight.Value.add_(noise);
            }
        }
        var path = _folder[$"adapter-{context}"];
        Directory.CreateDirectory(path);
        PeftFormat.Write(path, set, model, s_stories);
        return path;
    }

    private static Tensor Logits(LoadedModel model)
    {
        using var positions = RotaryEmbedding.Create(model.Config, 100);
        var ids = arange(0, 100, ScalarType.Int64).mul(37).remainder(500).view(1, 100);
        return model.Network.ComputeLogits(ids, new ForwardContext(new FullAttention(), positions));
    }
}
