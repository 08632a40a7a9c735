using System.Text.Json;
using LongLora.Checkpoints;

namespace LongLora.Cli.Tests;

/// <summary>A GGUF file as the model of every verb: the same figures as the folder that is made of it.</summary>
public class GgufVerbTests : CliRun
{
    private string Gguf
    {
        get
        {
            if (!File.Exists(At("m.gguf")))
                Succeed("export", "gguf", "--model", Stories, "--output", At("m.gguf"), "--type", "q8_0");
            return At("m.gguf");
        }
    }

    private string Imported
    {
        get
        {
            if (!Directory.Exists(At("folder")))
                Succeed("import", "gguf", Gguf, "--output", At("folder"));
            return At("folder");
        }
    }

    private double Loss(params string[] model)
    {
        Succeed(["evaluate", "perplexity", .. model, "--data", WriteTokens("d.bin", 900), "--context", "64", "--json", At("loss.json")]);
        using var json = JsonDocument.Parse(File.ReadAllText(At("loss.json")));
        return json.RootElement.GetProperty("results")[0].GetProperty("loss").GetDouble();
    }

    [Fact]
    public void Inspect_and_plan_tell_of_the_file()
    {
        var shown = Succeed("inspect", Gguf, "--tensors");
        Assert.StartsWith($"GGUF model: {Gguf}", shown, StringComparison.Ordinal);
        Assert.Contains("stories260K-hf", shown, StringComparison.Ordinal);
        Assert.Matches(@"size +0\.3 MiB, \d+ Q8_0, \d+ F32, 5 F16", shown);
        Assert.Matches(@"tokenizer +512 tokens, llama, no chat template", shown);
        Assert.Matches(@"Q8_0 +\[64, 64\]  model\.layers\.0\.self_attn\.q_proj\.weight", shown);
        Assert.Contains("together", Succeed("plan", "--model", Gguf, "--context", "1024"), StringComparison.Ordinal);
        Assert.Contains(
            "together",
            Succeed("plan", "--model", Gguf, "--context", "1024", "--quantization", "keep"),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Evaluate_and_generate_are_those_of_the_folder()
    {
        var expected = Loss("--model", Imported);
        Assert.Equal(expected, Loss("--model", Gguf));
        Assert.Equal(expected, Loss("--model", Gguf, "--quantization", "keep"), 1e-6 * expected);
        string[] asked = ["--prompt", "Once upon a time", "--max-tokens", "12"];
        Assert.Equal(
            Succeed(["generate", "--model", Imported, .. asked]).Split('\n')[0],
            Succeed(["generate", "--model", Gguf, .. asked]).Split('\n')[0]
        );
    }

    [Fact]
    public void Prepared_tokens_are_those_of_the_folder()
    {
        File.WriteAllText(At("text.txt"), "Once upon a time there was a small house.\n\nIt had a door.\n");
        Succeed("prepare", "--data", At("text.txt"), "--model", Gguf, "--output", At("of-file"));
        Succeed("prepare", "--data", At("text.txt"), "--model", Imported, "--output", At("of-folder"));
        var (file, folder) = (
            Directory.GetFiles(At("of-file"), "*.bin").Order().Select(File.ReadAllBytes).ToList(),
            Directory.GetFiles(At("of-folder"), "*.bin").Order().Select(File.ReadAllBytes).ToList()
        );
        Assert.NotEmpty(file);
        Assert.Equal(folder, file);
    }

    [Fact]
    public void Training_merging_and_exporting_go_on_from_it()
    {
        var data = WriteTokens("t.bin", 1500);
        string[] Options(string output) =>
            [
                "--data",
                data,
                "--context",
                "512",
                "--steps",
                "2",
                "--gradient-accumulation",
                "1",
                "--learning-rate",
                "1e-3",
                "--warmup-steps",
                "0",
                "--output",
                At(output),
            ];
        var before = File.ReadAllBytes(Gguf);
        Succeed(["train", "--model", Gguf, .. Options("whole")]);
        Succeed(["train", "--model", Gguf, "--quantization", "keep", .. Options("kept")]);
        Succeed(["train", "--model", Imported, .. Options("folder-run")]);
        Assert.Equal(before, File.ReadAllBytes(Gguf));
        var expected = Loss("--model", Imported, "--adapter", At("folder-run", "adapter"));
        Assert.Equal(expected, Loss("--model", Gguf, "--adapter", At("whole", "adapter")));
        Assert.Equal(expected, Loss("--model", Gguf, "--quantization", "keep", "--adapter", At("kept", "adapter")), 1e-5 * expected);

        Succeed("merge", "--model", Gguf, "--adapter", At("whole", "adapter"), "--output", At("merged"));
        Assert.Equal(expected, Loss("--model", At("merged")), 1e-5 * expected);
        Assert.True(File.Exists(At("merged", "tokenizer.json")));
        Succeed("export", "gguf", "--model", Gguf, "--adapter", At("whole", "adapter"), "--output", At("out.gguf"), "--type", "f32");
        Assert.Equal(expected, Loss("--model", At("out.gguf")), 1e-5 * expected);
        Succeed("export", "safetensors", "--model", Gguf, "--output", At("again"), "--type", "bf16");
        Succeed("quantize", "--model", Gguf, "--output", At("nf4"));
        using var folder = CheckpointDirectory.Open(At("nf4"), headersOnly: true);
        Assert.Contains("bitsandbytes", folder.ConfigText, StringComparison.Ordinal);
    }

    [Fact]
    public void Kept_blocks_are_of_GGUF_files_alone()
    {
        Fail(
            ExitCode.Usage,
            ["quantization is keep, but the model is not a GGUF file"],
            "evaluate",
            "perplexity",
            "--model",
            Stories,
            "--quantization",
            "keep",
            "--data",
            WriteTokens("d.bin", 200),
            "--context",
            "64"
        );
        Fail(ExitCode.Input, ["none.gguf does not exist"], "inspect", At("none.gguf"));
    }
}
