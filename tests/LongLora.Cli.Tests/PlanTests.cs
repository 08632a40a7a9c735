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
        var shown = Succeed("plan", "--model", "Llama-2-7b", "--context", "100000", "--device", "cuda", "--memory", "80");
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

    // By hand: 16,384 tokens before and after the first border, 32 layers, 16 of 32 heads of 128, in bf16. Rank 0 computes 15 of the 16.
    // For each, 8 tensors go to the rank that computes (3, then 5), and 4 come back (1, then 3).
    [Fact]
    public void Plan_of_a_job_of_many_ranks_tells_memory_bytes_and_seconds()
    {
        var shown = PlanOfMany("--ranks", "64", "--link", "400", "--rate", "400000", "--json", At("plan.json"));
        foreach (
            var part in new[]
            {
                "peak memory of a rank",
                "at most 65,536 of 1,048,576 tokens a rank, so 0 % of the time is idle",
                "9.1 GB to the right and 16.6 GB to the left",
                "(0.52 s)",
                "DeepSpeed-Ulysses",
                "is sending",
            }
        )
            Assert.Contains(part, shown, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        double Get(string name) => json.RootElement.GetProperty(name).GetDouble();
        const double elements = 16384.0 * 128 * 32;
        Assert.Equal((8 + 15 * 4) * elements * 2, Get("border_right_bytes"));
        Assert.Equal((15 * 8 + 4) * elements * 2, Get("border_left_bytes"));
        Assert.Equal(32 * 11 * 32 * 128 * 65536.0 * 15 / 16 * 2, Get("ulysses_bytes"));
        Assert.Equal(32 * 6 * 32 * 128 * 65536.0 * 15 * 2, Get("ring_bytes"));
        Assert.Equal((Get("border_right_bytes") + Get("border_left_bytes")) * 8 / 400e9, Get("border_seconds"), 1e-9);
        Assert.Equal(64, Get("ranks"));
        // Activations of one sixteenth; weights and trained state are as on one rank.
        var alone = Succeed(
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "65536",
            "--device",
            "cuda",
            "--memory",
            "80",
            "--activation-offload",
            "none",
            "--json",
            At("one.json")
        );
        Assert.DoesNotContain("of a rank", alone, StringComparison.Ordinal);
        using var one = JsonDocument.Parse(File.ReadAllText(At("one.json")));
        long Part(JsonDocument of, string name) => of.RootElement.GetProperty("parts").GetProperty(name).GetInt64();
        foreach (var name in new[] { "weights", "gradients", "activation checkpoints", "optimizer state" })
            Assert.Equal(Part(one, name), Part(json, name));
    }

    private static string PlanOfMany(params string[] more) =>
        Succeed([
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "1048576",
            "--group-size",
            "32768",
            "--device",
            "cuda",
            "--memory",
            "80",
            "--sequence-parallel",
            "16",
            "--activation-offload",
            "none",
            .. more,
        ]);

    // By hand: 7B has n weights; 8 GPUs have an eighth of the two moments each, and fp32 sums are sent as they are.
    [Theory]
    [InlineData("none", 2 * 4)]
    [InlineData("optimizer", 4 + 4)]
    public void Plan_of_a_divided_optimizer_tells_its_memory_and_bytes(string shard, int bytesAWeight)
    {
        Succeed(
            "plan",
            "--model",
            "llama-2-7b",
            "--context",
            "8192",
            "--tuning",
            "full",
            "--device",
            "cuda",
            "--memory",
            "80",
            "--ranks",
            "8",
            "--shard",
            shard,
            "--json",
            At("plan.json")
        );
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        var parts = json.RootElement.GetProperty("parts");
        var trained = parts.GetProperty("trained weights, fp32").GetInt64();
        var expected = shard == "none" ? 2.0 * trained : 2.0 * trained / 8;
        Assert.Equal(expected, parts.GetProperty("optimizer state").GetInt64(), 1e-4 * expected);
        Assert.Equal(trained / 4.0 * bytesAWeight * 7 / 8, json.RootElement.GetProperty("gradient_bytes").GetDouble(), 1.0);
        Assert.Equal(shard, json.RootElement.GetProperty("shard").GetString());
    }

    // Two moments of 4 bytes for each weight, and 8 more for an exact sum, whatever is trained.
    [Theory]
    [InlineData("lora-plus", "exact", 4)]
    [InlineData("lora-plus", "fast", 2)]
    [InlineData("full", "exact", 4)]
    [InlineData("full", "fast", 2)]
    public void Plan_counts_the_sums_of_the_reduction(string tuning, string reduction, int numbersAWeight)
    {
        string[] plan = ["plan", "--model", "llama-2-7b", "--context", "8192", "--device", "cuda", "--memory", "80"];
        Succeed([.. plan, "--tuning", tuning, "--reduction", reduction, "--json", At("plan.json")]);
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        long Part(string name) => json.RootElement.GetProperty("parts").GetProperty(name).GetInt64();
        Assert.Equal(numbersAWeight * Part("trained weights, fp32"), Part("optimizer state"));
    }

    // Exact sums are divided too: 16 bytes a weight on one rank, 16 / 4 and two pieces on the way on each of four; 8 texts in two rounds.
    [Fact]
    public void Plan_of_divided_exact_sums_counts_each_round()
    {
        string[] plan = ["plan", "--model", "llama-2-7b", "--context", "8192", "--device", "cuda", "--memory", "80", "--ranks", "4"];
        Succeed([.. plan, "--shard", "optimizer", "--json", At("divided.json")]);
        Succeed([.. plan, "--json", At("whole.json")]);
        using var divided = JsonDocument.Parse(File.ReadAllText(At("divided.json")));
        using var whole = JsonDocument.Parse(File.ReadAllText(At("whole.json")));
        long Part(JsonDocument of, string name) => of.RootElement.GetProperty("parts").GetProperty(name).GetInt64();
        var trained = Part(whole, "trained weights, fp32");
        Assert.Equal(4 * trained, Part(whole, "optimizer state"));
        Assert.Equal(trained + 2.0 * 8 * (1 << 22), Part(divided, "optimizer state"), 16.0 * 4096);
        Assert.Equal(trained / 4.0 * (2 * 8 + 4) * 3 / 4, divided.RootElement.GetProperty("gradient_bytes").GetDouble(), 1.0);
    }

    // By hand: a block has 4 matrices of 4096² and 3 of 4096 x 11008; of 32 blocks two at each end of a pass are not gathered again.
    [Theory]
    [InlineData("none", 2.0)]
    [InlineData("nf4", 0.5 + 1.0 / 64 + 4.0 / (64 * 256))]
    public void Plan_of_a_divided_model_tells_its_memory_and_bytes(string quantization, double bytesAWeight)
    {
        Assert.Contains(
            "Of the divided matrices each rank gets",
            Succeed(
                "plan",
                "--model",
                "llama-2-7b",
                "--context",
                "8192",
                "--device",
                "cuda",
                "--memory",
                "80",
                "--ranks",
                "8",
                "--shard",
                "model",
                "--quantization",
                quantization,
                "--link",
                "400",
                "--json",
                At("plan.json")
            ),
            StringComparison.Ordinal
        );
        using var json = JsonDocument.Parse(File.ReadAllText(At("plan.json")));
        const double block = 4 * 4096.0 * 4096 + 3 * 4096.0 * 11008,
            others = 2 * 32000.0 * 4096 + 65 * 4096.0;
        var weights = json.RootElement.GetProperty("parts").GetProperty("weights").GetInt64();
        Assert.Equal((32.0 / 8 + 2) * block * bytesAWeight + 2 * others, weights, 100.0);
        var sent = 60 * block * bytesAWeight * 7 / 8;
        Assert.Equal(sent, json.RootElement.GetProperty("matrix_bytes").GetDouble(), 100.0);
        Assert.Equal(sent * 8 / 400e9, json.RootElement.GetProperty("matrix_seconds").GetDouble(), 1e-6);
        Assert.Equal("model", json.RootElement.GetProperty("shard").GetString());
    }

    [Fact]
    public void Plan_of_a_job_without_a_network_asks_for_it() =>
        Assert.Contains("Give the rate of the network with --link", PlanOfMany(), StringComparison.Ordinal);

    [Theory]
    [InlineData(
        "sequence-parallel is 9, but a text of 1,024 tokens with attention groups of 256 can be divided among 8 ranks",
        "9",
        "9",
        "8"
    )]
    [InlineData("ranks is 3; it must be a multiple of sequence-parallel, which is 2", "2", "3", "8")]
    [InlineData("ranks is 8, so 4 texts are learned at the same time, but gradient-accumulation is 3", "2", "8", "3")]
    public void Plan_of_ranks_that_cannot_be_is_refused(string expected, string parts, string ranks, string accumulation) =>
        Fail(
            ExitCode.Usage,
            [expected],
            "plan",
            "--model",
            WriteModel("model"),
            "--context",
            "1024",
            "--device",
            "cpu",
            "--rate",
            "1",
            "--sequence-parallel",
            parts,
            "--ranks",
            ranks,
            "--gradient-accumulation",
            accumulation
        );

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
