using System.Text.Json;

namespace LongLora.Cli.Tests;

public class BenchTests : CliRun
{
    private static readonly string[] s_fields =
    [
        "context",
        "s2_seconds",
        "full_seconds",
        "s2_flops",
        "full_flops",
        "s2_gflops_useful",
        "gemm_gflops",
        "s2_recomputed_flops",
        "full_recomputed_flops",
        "s2_peak_bytes",
        "full_peak_bytes",
    ];

    private JsonElement Results(string file) => JsonDocument.Parse(File.ReadAllText(At(file))).RootElement.GetProperty("results");

    [Fact]
    public void Step_writes_one_record_a_context()
    {
        var output = Succeed("bench", "step", "--model", Stories, "--context", "64,128", "--steps", "2", "--json", At("step.json"));
        Assert.Contains("full attention takes", output, StringComparison.Ordinal);
        var results = Results("step.json");
        Assert.Equal([64, 128], results.EnumerateArray().Select(r => r.GetProperty("context").GetInt32()));
        foreach (var result in results.EnumerateArray())
        {
            Assert.Equal(s_fields, result.EnumerateObject().Select(p => p.Name));
            double Number(string name) => result.GetProperty(name).GetDouble();
            Assert.True(Number("s2_seconds") > 0 && Number("full_seconds") > 0 && Number("gemm_gflops") > 0);
            Assert.InRange(Number("s2_flops"), 1, Number("full_flops") - 1);
            Assert.Equal(Number("s2_flops") / Number("s2_seconds") / 1e9, Number("s2_gflops_useful"), 1e-9);
        }
        // Products grow with the tokens, attention with their square.
        Assert.True(results[1].GetProperty("full_flops").GetDouble() > 2 * results[0].GetProperty("full_flops").GetDouble());
    }

    [Fact]
    public void Step_with_memory_to_spare_computes_less_again()
    {
        double Measure(string memory)
        {
            string[] step = ["bench", "step", "--model", Stories, "--context", "128", "--steps", "1", "--activation-memory", memory];
            Succeed([.. step, "--json", At("step.json")]);
            return Results("step.json")[0].GetProperty("s2_recomputed_flops").GetDouble();
        }
        Assert.InRange(Measure("1GiB"), 0, 0.5 * Measure("0"));
    }

    [Fact]
    public void Step_without_full_attention_leaves_its_fields_empty()
    {
        Succeed(
            "bench",
            "step",
            "--model",
            Stories,
            "--context",
            "64",
            "--steps",
            "1",
            "--full",
            "false",
            "--group-size",
            "32",
            "--json",
            At("step.json")
        );
        var result = Results("step.json")[0];
        Assert.Equal(s_fields, result.EnumerateObject().Select(p => p.Name));
        Assert.Equal(JsonValueKind.Null, result.GetProperty("full_seconds").ValueKind);
        Assert.Equal(JsonValueKind.Null, result.GetProperty("full_peak_bytes").ValueKind);
    }

    [Fact]
    public void Step_exports_what_the_peer_reads()
    {
        Succeed("bench", "step", "--model", Stories, "--context", "64", "--steps", "1", "--export-peer", At("peer"));
        using var ours = JsonDocument.Parse(File.ReadAllText(At("peer", "ours.json")));
        var record = ours.RootElement.GetProperty("64");
        Assert.Equal(16, record.GetProperty("group").GetInt32());
        Assert.Equal(2, record.GetProperty("full").GetProperty("losses").GetArrayLength());
        Assert.True(File.Exists(At("peer", "step.safetensors")) && File.Exists(At("peer", "config.json")));
    }

    [Fact]
    public void Memory_that_runs_out_is_told_as_that() =>
        Fail(ExitCode.Usage, ["Out of memory", "longlora plan", "--context"], "bench", "dequantize", "--size", "100000000");

    [Fact]
    public void Step_with_wrong_numbers_is_refused()
    {
        Fail(ExitCode.Usage, ["context", "many"], "bench", "step", "--model", Stories, "--context", "many");
        Fail(ExitCode.Usage, ["at least 0 steps", "-1"], "bench", "step", "--model", Stories, "--context", "64", "--steps", "-1");
        Fail(ExitCode.Usage, ["group", "7"], "bench", "step", "--model", Stories, "--context", "64", "--group-size", "7");
    }

    [Fact]
    public void Decode_shows_a_row_a_length()
    {
        var shown = Succeed(
            "bench",
            "decode",
            "--model",
            Stories,
            "--context",
            "64,100",
            "--tokens",
            "3",
            "--prefill-chunk",
            "48",
            "--device",
            "cpu"
        );
        Assert.Contains("100", shown);
        Assert.Contains("% of", shown);
        string[] none = ["bench", "decode", "--model", Stories, "--context", "64", "--tokens", "0"];
        Fail(ExitCode.Usage, ["--tokens is 0; it must be at least 1."], none);
    }
}
