using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;

namespace LongLora.Tests.Adapters;

public sealed class PeftFormatTests : IDisposable
{
    // The fields of PEFT 0.4, all of which later ones have. From 0.6 to 0.13 PEFT refuses a file with any field that it does not know.
    private static readonly string[] s_known =
    [
        "peft_type",
        "task_type",
        "base_model_name_or_path",
        "inference_mode",
        "r",
        "lora_alpha",
        "lora_dropout",
        "bias",
        "target_modules",
        "modules_to_save",
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_to_transform",
        "layers_pattern",
        "revision",
        "auto_mapping",
    ];

    private static readonly string s_stories = SharedMaterial.Golden("stories260K-hf");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static CausalLanguageModel Stories(int context)
    {
        var folder = CheckpointDirectory.Open(s_stories);
        return ModelLoader.Load(RopeScaling.Extend(folder.Config, "linear", null, context), folder);
    }

    [Fact]
    public void Write_has_no_field_that_some_PEFT_refuses_and_keeps_the_positions()
    {
        using (var model = Stories(2048))
        using (var set = AdapterSet.Attach(model, new AdapterOptions(), 1))
            PeftFormat.Write(_folder.Root, set, model, "base");
        Assert.Empty(Config().Select(f => f.Key).Except(s_known));

        using var again = LoadedModel.Open(s_stories, new LoadOptions { Adapter = _folder.Root, Device = "cpu" });
        Assert.Equal((2048, 4.0), (RopeScaling.GetCurrentContext(again.Config), again.Config.RopeScaling.Factor));
        Assert.Contains(CheckpointSummary.Read(_folder.Root).Facts, f =>
            f.Name == "context" && f.Value.StartsWith("2048 tokens, RoPE linear x4", StringComparison.Ordinal)
        );
    }

    [Fact]
    public void Attach_takes_the_positions_of_the_first_adapters_from_their_config()
    {
        using (var model = Stories(512))
        using (var set = AdapterSet.Attach(model, new AdapterOptions(), 1))
            PeftFormat.Write(_folder.Root, set, model, "base");
        using (var file = new SafetensorsReader(_folder["adapter_model.safetensors"]))
            SafetensorsWriter.Write(
                _folder["copy"],
                [.. file.Tensors.Values.Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, () => file.Open(t.Name).clone()))]
            );
        File.Move(_folder["copy"], _folder["adapter_model.safetensors"], overwrite: true);
        var config = Config();
        using (var stretched = Stories(1024))
            config["longlora_model"] = ModelConfigWriter.DescribePositions(stretched.Config);
        _folder.Text("adapter_config.json", config.ToJsonString());

        using var again = LoadedModel.Open(s_stories, new LoadOptions { Adapter = _folder.Root, Device = "cpu" });
        Assert.Equal(1024, RopeScaling.GetCurrentContext(again.Config));
    }

    private JsonObject Config() => JsonNode.Parse(File.ReadAllText(_folder["adapter_config.json"]))!.AsObject();
}
