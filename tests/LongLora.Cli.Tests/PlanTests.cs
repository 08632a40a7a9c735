using System.Text.Json;

namespace LongLora.Cli.Tests;

public class PlanTests : CliRun
{
    [Fact]
    public void Plan_of_a_published_model_shows_parts_and_largest_context()
    {
        var shown = Succeed(
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "32768",
            "--device",
            "cpu",
            "--memory",
            "64",
            "--rate",
            "100",
            "--json",
            At("plan.json")
        );
        foreach (var part in new[] { "weights", "12.6 GiB", "activation checkpoints", "Fits into 64.0 GiB", "with full attention" })
            Assert.Contains(part, shown);
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        Assert.Equal(
            json.RootElement.GetProperty("peak_bytes").GetInt64(),
            json.RootElement.GetProperty("parts").EnumerateObject().Sum(p => p.Value.GetInt64())
        );
        Assert.True(json.RootElement.GetProperty("full_flops").GetDouble() > json.RootElement.GetProperty("flops").GetDouble());
    }

    [Fact]
    public void Plan_of_a_model_folder_works()
    {
        var shown = Succeed("plan", "--model", WriteModel("model"), "--context", "1024", "--device", "cpu", "--rate", "1");
        Assert.Contains("longest context", shown);
    }

    [Fact]
    public void Plan_for_a_gpu_needs_none()
    {
        var shown = Succeed("plan", "--model", "llama-2-7b", "--context", "100000", "--device", "cuda", "--memory", "80");
        foreach (var part in new[] { "Fits into 80.0 GiB", "--rate" })
            Assert.Contains(part, shown);
    }

    // 512 KiB of activations for each token.
    [Theory]
    [InlineData("50GiB", "Fits into 80.0 GiB of the device and 50.0 GiB of the host; the longest context that fits is 102,400 tokens.")]
    [InlineData(
        "16",
        "Fits into 80.0 GiB of the device, but not into 16.0 GiB of the host; the longest context that fits is 32,768 tokens."
    )]
    [InlineData("17179.869184MB", "but not into 16.0 GiB of the host; the longest context that fits is 32,768 tokens.")]
    public void Plan_for_a_gpu_counts_its_host(string host, string expected)
    {
        var shown = Succeed(
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "100000",
            "--device",
            "cuda",
            "--memory",
            "80GiB",
            "--activation-offload",
            "host",
            "--host-memory",
            host,
            "--json",
            At("plan.json")
        );
        Assert.Contains("Activations are kept in the host's memory: 48.8 GiB.", shown, StringComparison.Ordinal);
        Assert.Contains(expected, shown, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        Assert.Equal(host == "50GiB", json.RootElement.GetProperty("fits").GetBoolean());
        Assert.Equal((host == "50GiB" ? 50L : 16L) << 30, json.RootElement.GetProperty("host_available_bytes").GetInt64());
    }

    [Fact]
    public void Plan_refuses_an_amount_of_memory_that_is_none() =>
        Fail(
            ExitCode.Usage,
            ["--host-memory is 'much'; give a size such as 80GiB or 64GB."],
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "1024",
            "--host-memory",
            "much"
        );

    [Fact]
    public void Plan_says_that_weights_without_room_are_read_again()
    {
        var shown = Succeed("plan", "--model", "llama-2-70b", "--context", "8192", "--device", "cpu", "--memory", "24", "--rate", "100");
        foreach (var part in new[] { "Fits into 24.0 GiB", "128.5 GiB of weights", "read from the disk again" })
            Assert.Contains(part, shown);
    }

    [Fact]
    public void Plan_of_an_unknown_model_is_refused() =>
        Fail(ExitCode.Input, ["no model folder 'llama-2-8b'"], "plan", "--model", "llama-2-8b", "--context", "1024");

    // A context that no machine holds, of a model that is tiny.
    [Fact]
    public void Train_that_cannot_fit_is_refused_before_it_begins()
    {
        WriteTokens("train.bin", 5_000);
        Fail(
            ExitCode.Usage,
            ["This run needs about", "--check-memory false"],
            "train",
            "--model",
            WriteModel("model"),
            "--data",
            At("train.bin"),
            "--context",
            "2000000000",
            "--output",
            At("run"),
            "--steps",
            "1",
            "--activation-offload",
            "none"
        );
    }
}
