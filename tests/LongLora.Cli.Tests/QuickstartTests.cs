using System.Text.Json;

namespace LongLora.Cli.Tests;

public class QuickstartTests : CliRun
{
    [Fact]
    public void Bundled_model_finds_the_pass_key_within_its_context_and_not_beyond()
    {
        Succeed(
            "evaluate",
            "passkey",
            "--model",
            Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny"),
            "--lengths",
            "512,1024",
            "--trials",
            "10",
            "--json",
            At("k.json")
        );
        using var json = JsonDocument.Parse(File.ReadAllText(At("k.json")));
        double[] found = [.. json.RootElement.GetProperty("results").EnumerateArray().Select(r => r.GetProperty("accuracy").GetDouble())];
        Assert.InRange(found[0], 0.85, 1);
        Assert.InRange(found[1], 0, 0.4);
    }

    [Fact]
    public void Quickstart_leaves_measures_report_and_a_run_that_can_be_looked_at()
    {
        var model = WriteOneLayer("model");
        var output = Succeed("quickstart", "--model", model, "--factor", "2", "--steps", "1", "--trials", "1", "--output", At("q"));
        Assert.Contains("Extending it to 1024 tokens", output, StringComparison.Ordinal);
        Assert.Contains("longlora train --model MODEL", output, StringComparison.Ordinal);
        Assert.Matches("On this machine the whole quickstart takes about [0-9.]+ (seconds|minutes)", output);
        Assert.Equal(3, output.Split("  1,024 tokens: pass key").Length - 1); // before, rescaled and after, as they are measured
        Assert.Equal(2, output.Split("    512 tokens: pass key").Length - 1); // the original positions are those of before
        using (var json = JsonDocument.Parse(File.ReadAllText(At("q", "quickstart.json"))))
        {
            Assert.Equal(
                ["version", "kind", "before", "rescaled", "after", "test_text", "training_seconds", "seconds"],
                json.RootElement.EnumerateObject().Select(p => p.Name)
            );
            foreach (var name in new[] { "before", "rescaled", "after" })
            {
                var measures = json.RootElement.GetProperty(name).EnumerateArray().ToList();
                Assert.Equal([512, 1024], measures.Select(m => m.GetProperty("length").GetInt32()));
                Assert.All(measures, m => Assert.InRange(m.GetProperty("perplexity").GetDouble(), 2, 1e12));
                Assert.All(measures, m => Assert.InRange(m.GetProperty("pass_key").GetDouble(), 0, 1));
            }
        }
        var page = File.ReadAllText(At("q", "report.html"));
        Assert.Contains("512 to 1,024 tokens", page, StringComparison.Ordinal);
        Assert.DoesNotContain("[[", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http", page, StringComparison.Ordinal); // opens no network
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
        Succeed("inspect", At("q", "run", "adapter"));
        Fail(ExitCode.Usage, ["is not empty"], "quickstart", "--model", Stories, "--output", At("q"));
        Fail(ExitCode.Usage, ["factor must be at least 2"], "quickstart", "--model", Stories, "--factor", "1", "--output", At("r"));
    }
}
