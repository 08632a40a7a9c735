using System.Text.Json;

namespace LongLora.Cli.Tests;

public class ReproduceTests : CliRun
{
    [Fact]
    public void Reproduce_leaves_results_and_tables_and_makes_nothing_twice()
    {
        var model = WriteOneLayer("model");
        string[] Command(string steps, params string[] runs) =>
            ["reproduce", "--model", model, "--factor", "4", "--steps", steps, "--trials", "1", "--output", At("r"), "--only", .. runs];
        Succeed(Command("1", "base", "lora-plus"));
        var result = At("r", "results", "lora-plus.json");
        using (var json = JsonDocument.Parse(File.ReadAllText(result)))
        {
            var measures = json.RootElement.GetProperty("measures").EnumerateArray().ToList();
            Assert.Equal([512, 1024, 2048], measures.Select(m => m.GetProperty("length").GetInt32()));
            Assert.All(measures, m => Assert.InRange(m.GetProperty("perplexity").GetDouble(), 2, 1e12));
            Assert.True(
                json.RootElement.GetProperty("attention_flops").GetDouble() < json.RootElement.GetProperty("step_flops").GetDouble()
            );
        }
        var written = File.GetLastWriteTimeUtc(result);
        Succeed(Command("1", "base", "lora-plus"));
        Assert.Equal(written, File.GetLastWriteTimeUtc(result));
        var text = File.ReadAllText(At("r", "reproduce.md"));
        Assert.Contains("| LoRA + both (LoRA+) |", text, StringComparison.Ordinal);
        Assert.DoesNotContain("| full fine-tuning |", text, StringComparison.Ordinal); // was not made
        Assert.DoesNotContain("NaN", text, StringComparison.Ordinal);

        // Results of other options are not mixed with these.
        Fail(ExitCode.Usage, ["was made with other options"], Command("2", "lora-plus"));
        Fail(ExitCode.Usage, ["no run 'lora-pluss'", "lora-plus"], Command("1", "lora-pluss"));
        Assert.Contains("by-length", Succeed("reproduce", "--model", Stories, "--list"), StringComparison.Ordinal);
    }
}
