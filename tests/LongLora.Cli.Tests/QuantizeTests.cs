using System.Text.Json;

namespace LongLora.Cli.Tests;

public class QuantizeTests : CliRun
{
    private double Perplexity(string data, params string[] model)
    {
        Succeed(["evaluate", "perplexity", .. model, "--data", data, "--context", "64", "--json", At("p.json")]);
        using var json = JsonDocument.Parse(File.ReadAllText(At("p.json")));
        return json.RootElement.GetProperty("results")[0].GetProperty("perplexity").GetDouble();
    }

    [Fact]
    public void Quantize_train_merge_and_evaluate_agree()
    {
        var data = WriteTokens("data.bin", 3000);
        Assert.Contains("0.516 bytes per weight", Succeed("quantize", "--model", Stories, "--output", At("nf4")), StringComparison.Ordinal);
        Assert.Contains("matrices in nf4", Succeed("inspect", At("nf4")), StringComparison.Ordinal);
        // Quantised while loading, or before: the same numbers.
        Assert.Equal(Perplexity(data, "--model", Stories, "--quantization", "nf4"), Perplexity(data, "--model", At("nf4")));

        Succeed(
            "train",
            "--model",
            Stories,
            "--quantization",
            "nf4",
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
            At("run")
        );
        Succeed("merge", "--model", At("nf4"), "--adapter", At("run", "adapter"), "--output", At("merged"));
        var trained = Perplexity(data, "--model", At("nf4"), "--adapter", At("run", "adapter"));
        Assert.Equal(trained, Perplexity(data, "--model", At("merged")), 1e-4 * trained);
        Assert.NotEqual(trained, Perplexity(data, "--model", At("nf4")));
    }

    [Fact]
    public void Quantisation_that_cannot_be_is_refused()
    {
        Fail(
            ExitCode.Usage,
            ["quantization is 'nf5'", "none, nf4, int8"],
            "quantize",
            "--model",
            Stories,
            "--quantization",
            "nf5",
            "--output",
            At("x")
        );
        Fail(ExitCode.Usage, ["not quantized"], "quantize", "--model", Stories, "--quantization", "none", "--output", At("x"));
        Fail(
            ExitCode.Usage,
            ["tuning is full"],
            "train",
            "--model",
            Stories,
            "--quantization",
            "int8",
            "--tuning",
            "full",
            "--data",
            "d",
            "--context",
            "512",
            "--output",
            At("run")
        );
    }
}
