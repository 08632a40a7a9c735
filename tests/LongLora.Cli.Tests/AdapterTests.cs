using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Cli.Tests;

/// <summary>Adapters of every kind from training to a merged model, and adapters that are not what they say.</summary>
public sealed class AdapterTests : CliRun
{
    private string[] Train(string output, params string[] more) => Train(output, 4, more);

    private string[] Train(string output, int steps, string[] more) =>
        [
            "train",
            "--model",
            Stories,
            "--data",
            At("train.bin"),
            "--context",
            "600",
            "--output",
            At(output),
            "--steps",
            $"{steps}",
            "--gradient-accumulation",
            "1",
            "--learning-rate",
            "2e-3",
            "--warmup-steps",
            "1",
            "--save-every",
            "2",
            .. more,
        ];

    private double Loss(params string[] model)
    {
        Succeed([
            "evaluate",
            "perplexity",
            .. model,
            "--data",
            At("test.bin"),
            "--context",
            "256",
            "--protocol",
            "document",
            "--json",
            At("loss.json"),
        ]);
        return (double)JsonNode.Parse(File.ReadAllText(At("loss.json")))!["results"]![0]!["loss"]!;
    }

    [Theory]
    [InlineData(4, 16, "--adapter-kind", "dora", "--rslora", "--tuning", "lora")]
    [InlineData(8, 32, "--adapter-kind", "pissa", "--pissa-iterations", "2")]
    [InlineData(8, 32, "--adapter-kind", "pissa", "--tuning", "lora")]
    public void Train_resume_and_merge_agree(int rank, int alpha, params string[] kind)
    {
        WriteTokens("train.bin", 8_000);
        WriteTokens("test.bin", 1_000);
        string[] options = ["--rank", "4", .. kind];
        Succeed(Train("run", options));
        var config = JsonNode.Parse(File.ReadAllText(At("run", "adapter", "adapter_config.json")))!;
        Assert.Equal((rank, alpha), ((int)config["r"]!, (int)config["lora_alpha"]!));
        Assert.Equal(kind[1] == "dora", (bool?)config["use_dora"] ?? false);

        // Stopped after two steps and resumed: the same bytes.
        Succeed(Train("half", 2, options));
        Succeed([.. Train("half", options), "--resume"]);
        Assert.Equal(
            File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("half", "adapter", "adapter_model.safetensors"))
        );

        Succeed("merge", "--model", Stories, "--adapter", At("run", "adapter"), "--output", At("merged"));
        var attached = Loss("--model", Stories, "--adapter", At("run", "adapter"));
        Assert.Equal(attached, Loss("--model", At("merged")), 1e-4);
        Assert.True(Math.Abs(attached - Loss("--model", Stories)) > 1e-2);
        var told = Succeed("inspect", At("run", "adapter"));
        Assert.Contains(kind[1] == "dora" ? "DoRA, rsLoRA" : "LoRA", told, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_refuses_kinds_that_are_none()
    {
        WriteTokens("train.bin", 2_000);
        Fail(ExitCode.Usage, ["adapter-kind is 'dorra'", "'dora'"], Train("a", "--adapter-kind", "dorra"));
        Fail(ExitCode.Usage, ["pissa-iterations is 3"], Train("b", "--pissa-iterations", "3"));
        Fail(
            ExitCode.Usage,
            ["tuning is full", "use --tuning lora-plus or lora"],
            Train("c", "--tuning", "full", "--adapter-kind", "dora")
        );
    }

    // The model has a weight that is no number: whoever read it first would complain of that.
    [Theory]
    [InlineData("""{"peft_type": "IA3", "target_modules": ["k_proj"]}""", "IA3")]
    [InlineData("""{"peft_type": "LORA", "target_modules": ["q_proj"], "init_lora_weights": "lora_ga"}""", "lora_ga")]
    [InlineData("""{"peft_type": "LORA", "target_modules": ["q_proj"], "use_what_comes": 2}""", "use_what_comes")]
    public void Adapter_of_another_kind_is_refused_before_the_model_is_read(string config, string name)
    {
        Directory.CreateDirectory(At("adapter"));
        File.WriteAllText(At("adapter", "adapter_config.json"), config);
        WriteModel("damaged", change: t => t.Name != "model.norm.weight" ? t : t with { Value = () => full([.. t.Shape], float.NaN) });
        foreach (var file in Directory.GetFiles(Stories, "tokenizer*"))
            File.Copy(file, At("damaged", Path.GetFileName(file)));
        string[] source = ["--model", At("damaged"), "--adapter", At("adapter")];
        Fail(ExitCode.Input, [name], ["merge", .. source, "--output", At("m")]);
        Fail(ExitCode.Input, [name], ["export", "safetensors", .. source, "--output", At("m")]);
        Fail(ExitCode.Input, [name], ["generate", .. source, "--prompt", "Once"]);
        Fail(ExitCode.Input, [name], ["evaluate", "perplexity", .. source, "--data", WriteTokens("x.bin", 300), "--context", "64"]);
    }

    [Fact]
    public void Missing_parts_are_named_and_left_out_where_that_is_allowed()
    {
        const string layer = "model.layers.3.self_attn.v_proj";
        WriteTokens("train.bin", 4_000);
        Succeed(Train("run", "--tuning", "lora"));
        var path = At("run", "adapter", "adapter_model.safetensors");
        using (var file = new SafetensorsReader(path))
        {
            SafetensorsWriter.Write(
                At("rest"),
                [
                    .. file
                        .Tensors.Values.Where(t => !t.Name.Contains(layer, StringComparison.Ordinal))
                        .Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, () => file.Open(t.Name).clone())),
                ]
            );
        }
        File.Move(At("rest"), path, overwrite: true);
        File.Delete(At("run", "adapter", "checksums.xxh128"));
        string[] source = ["--model", Stories, "--adapter", At("run", "adapter")];
        string[] told = [layer + ".lora_A.weight", "target_modules", "--allow-missing"];
        Fail(ExitCode.Input, told, ["merge", .. source, "--output", At("m")]);
        Fail(ExitCode.Input, told, ["generate", .. source, "--prompt", "Once"]);
        // A warning, which --quiet does not hide.
        var (code, _, error) = Run(["merge", .. source, "--output", At("m"), "--allow-missing", "--quiet"]);
        Assert.True(code == ExitCode.Done, error);
        Assert.Contains(layer, error, StringComparison.Ordinal);
        using var merged = CheckpointDirectory.Open(At("m"));
        using var origin = CheckpointDirectory.Open(Stories);
        using var scope = NewDisposeScope();
        Assert.True(merged.Open(layer + ".weight").equal(origin.Open(layer + ".weight")).all().item<bool>());
        Assert.Contains(
            layer,
            Run(["generate", .. source, "--prompt", "Once", "--max-tokens", "3", "--allow-missing"]).Error,
            StringComparison.Ordinal
        );
    }
}
