using System.Text.Json;

namespace LongLora.Cli.Tests;

public class ExportTests : CliRun
{
    [Fact]
    public void Export_to_every_format_and_back_agree()
    {
        var data = WriteTokens("data.bin", 1500);
        Succeed(
            "train",
            "--model",
            Stories,
            "--data",
            data,
            "--context",
            "512",
            "--steps",
            "1",
            "--gradient-accumulation",
            "1",
            "--learning-rate",
            "1e-3",
            "--warmup-steps",
            "0",
            "--output",
            At("run")
        );
        string[] trained = ["--model", Stories, "--adapter", At("run", "adapter")];

        Assert.StartsWith(
            "3 files, 47 tensors, 1.0 MiB",
            Succeed(["export", "pytorch", .. trained, "--output", At("bin"), "--shard-size", "400KB"]),
            StringComparison.Ordinal
        );
        Assert.StartsWith(
            "1 file, 47 tensors, 0.5 MiB",
            Succeed("export", "safetensors", "--model", At("bin"), "--output", At("half"), "--type", "bf16"),
            StringComparison.Ordinal
        );
        Assert.Contains("Hugging Face model", Succeed("inspect", At("bin")), StringComparison.Ordinal);
        Assert.StartsWith(
            "20 LoRA pairs and 12 trained weights, embeddings with a row for [PAD].",
            Succeed(["export", "adapter", .. trained, "--output", At("pair"), "--layout", "longlora"]),
            StringComparison.Ordinal
        );
        Assert.StartsWith(
            "47 tensors",
            Succeed(["export", "gguf", .. trained, "--output", At("model.gguf"), "--type", "q8_0"]),
            StringComparison.Ordinal
        );

        double Loss(params string[] model)
        {
            Succeed(["evaluate", "perplexity", .. model, "--data", data, "--context", "64", "--json", At("loss.json")]);
            using var json = JsonDocument.Parse(File.ReadAllText(At("loss.json")));
            return json.RootElement.GetProperty("results")[0].GetProperty("loss").GetDouble();
        }
        var expected = Loss(trained);
        Assert.Equal(expected, Loss("--model", At("bin")), 1e-5 * expected); // a merged matrix is rounded once
        Assert.Equal(expected, Loss("--model", Stories, "--adapter", At("pair"), "--keep-vocabulary", "--adapter-context", "512"));
    }

    [Theory]
    [InlineData("safetensors")]
    [InlineData("pytorch")]
    [InlineData("gguf")]
    [InlineData("adapter")]
    public void Help_fits_80_columns(string format) =>
        Assert.All(Succeed("export", format, "--help").Split('\n'), line => Assert.True(line.TrimEnd().Length <= 80, line));

    [Fact]
    public void Export_that_cannot_be_is_refused()
    {
        Fail(
            ExitCode.Usage,
            ["--shard-size is 'much'"],
            "export",
            "safetensors",
            "--model",
            Stories,
            "--output",
            At("x"),
            "--shard-size",
            "much"
        );
        Fail(
            ExitCode.Usage,
            ["--adapter-only needs an --adapter"],
            "export",
            "gguf",
            "--model",
            Stories,
            "--output",
            At("x.gguf"),
            "--adapter-only"
        );
        Fail(ExitCode.Usage, ["is not empty"], "export", "pytorch", "--model", Stories, "--output", Stories);
        Fail(ExitCode.Input, ["There is no model folder"], "export", "gguf", "--model", At("none"), "--output", At("x.gguf"));
    }
}
