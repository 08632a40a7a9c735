using System.Text.Json;

namespace LongLora.Cli.Tests;

public class ReportTests : CliRun
{
    [Fact]
    public void Report_shows_training_and_every_evaluation_in_the_run_directory()
    {
        WriteTokens("train.bin", 5000);
        WriteTokens("test.bin", 3000);
        Succeed(
            "train",
            "--model",
            Stories,
            "--data",
            At("train.bin"),
            "--context",
            "1024",
            "--steps",
            "3",
            "--gradient-accumulation",
            "1",
            "--output",
            At("run")
        );
        string[] adapted = ["--model", Stories, "--adapter", At("run", "adapter")];
        Succeed([
            "evaluate",
            "perplexity",
            "--model",
            Stories,
            "--data",
            At("test.bin"),
            "--context",
            "256,512",
            "--json",
            At("run", "base.json"),
        ]);
        var shown = Succeed([
            "evaluate",
            "perplexity",
            .. adapted,
            "--data",
            At("test.bin"),
            "--context",
            "256,512",
            "--by-position",
            "--json",
            At("run", "after.json"),
            "--picture",
            At("p.png"),
        ]);
        Assert.Contains("256 to 511", shown, StringComparison.Ordinal);
        Assert.True(new FileInfo(At("p.png")).Length > 5000);
        Succeed([
            "evaluate",
            "passkey",
            .. adapted,
            "--lengths",
            "384,512",
            "--trials",
            "2",
            "--json",
            At("run", "evaluations", "passkey.json"),
        ]);
        Succeed([
            "evaluate",
            "ruler",
            .. adapted,
            "--tasks",
            "fwe",
            "niah_single_1",
            "--lengths",
            "512",
            "--trials",
            "1",
            "--json",
            At("run", "ruler.json"),
            "--picture",
            At("r.png"),
        ]);
        var change = Succeed([
            "evaluate",
            "short",
            .. adapted,
            "--data",
            At("test.bin"),
            "--trials",
            "0",
            "--json",
            At("run", "short.json"),
        ]);
        Assert.Contains("perplexity", change, StringComparison.Ordinal);

        using (var ruler = JsonDocument.Parse(File.ReadAllText(At("run", "ruler.json"))))
        {
            var results = ruler.RootElement.GetProperty("tasks")[0].GetProperty("results");
            Assert.Equal(0, results[0].GetProperty("trials")[0].GetProperty("seed").GetInt32()); // as in the other evaluations
        }
        Assert.Contains("report.html", Succeed("report", At("run")), StringComparison.Ordinal);
        var page = File.ReadAllText(At("run", "report.html"));
        foreach (
            var wanted in new[]
            {
                "1,024 tokens",
                "Training loss",
                "Perplexity by length",
                "perplexity before",
                "perplexity after",
                "pass key after",
                "Loss by position",
                "Short text",
                "fwe after",
                "peak memory",
                "learning-rate",
            }
        )
            Assert.Contains(wanted, page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http", page, StringComparison.Ordinal); // needs nothing from elsewhere
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.True(
            page.IndexOf("<th scope=\"col\">perplexity before", StringComparison.Ordinal)
                < page.IndexOf("<th scope=\"col\">perplexity after", StringComparison.Ordinal),
            "after.json is read first, but before comes first"
        );
        Assert.Matches("<li><b>[0-9.]+ → [0-9.]+</b>perplexity at 512 tokens", page);
        // a chart for who cannot see it
        Assert.Matches("aria-label=\"By tokens. before: [0-9.]+ at 256, [0-9.]+ at 512; after: [0-9.]+ at 256, [0-9.]+ at 512\"", page);
        Fail(ExitCode.Usage, ["--output"], "report", At("run"), At("run"));
        Succeed("report", At("run"), At("run"), "--output", At("two.html"));
        foreach (
            var wanted in new[]
            {
                "2 runs",
                "<th scope=\"col\">perplexity at 512",
                "<th scope=\"col\">pass key at 512",
                "Pass key by length, after",
            }
        )
            Assert.Contains(wanted, File.ReadAllText(At("two.html")), StringComparison.Ordinal);
    }

    [Fact]
    public void Report_takes_a_model_beside_the_run_for_the_base_though_its_name_begins_alike()
    {
        WriteRun("run");
        foreach (var (name, model, loss) in new[] { ("a", At("run-base"), 2.0), ("b", At("run", "model"), 1.0), ("c", At("run"), 3.0) })
        {
            File.WriteAllText(
                At("run", name + ".json"),
                JsonSerializer.Serialize(
                    new
                    {
                        task = "perplexity",
                        model,
                        adapter = (string?)null,
                        results = new[]
                        {
                            new
                            {
                                context = 64,
                                loss,
                                tokens = 63,
                            },
                        },
                    }
                )
            );
        }
        Succeed("report", At("run"));
        Assert.Contains(
            "\"By tokens. before: 7.389 at 64; after: 2.718 at 64; after: 20.086 at 64\"",
            File.ReadAllText(At("run", "report.html")),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Evaluate_asks_questions_of_a_file_as_they_are()
    {
        var lines = Enumerable
            .Range(0, 3)
            .Select(i =>
                JsonSerializer.Serialize(
                    new
                    {
                        prompt = $"line a-b: REGISTER_CONTENT is <{70 + i}>\nline c-d: REGISTER_CONTENT is <12>\nWhat is in line a-b? ",
                        expected_number = 70 + i,
                    }
                )
            );
        File.WriteAllLines(At("cases.jsonl"), lines);
        var shown = Succeed(
            "evaluate",
            "lines",
            "--model",
            Stories,
            "--cases",
            At("cases.jsonl"),
            "--trials",
            "2",
            "--scoring",
            "likelihood",
            "--json",
            At("lines.json"),
            "--picture",
            At("l.png")
        );
        Assert.Contains("cases.jsonl", shown, StringComparison.Ordinal);
        using var json = JsonDocument.Parse(File.ReadAllText(At("lines.json")));
        Assert.Equal(2, json.RootElement.GetProperty("results")[0].GetProperty("trials").GetArrayLength());
        Fail(ExitCode.Usage, ["--lengths", "--cases"], "evaluate", "lines", "--model", Stories);
        Fail(ExitCode.Input, ["cases.jsonl:1", "\"topics\""], "evaluate", "topics", "--model", Stories, "--cases", At("cases.jsonl"));
    }

    [Fact]
    public void Evaluate_refuses_what_it_could_not_write_before_it_measures()
    {
        string[] command = ["evaluate", "passkey", "--model", At("none"), "--lengths", "512"]; // not even the model is looked for
        Fail(ExitCode.Usage, ["must be a file name that ends in .png"], [.. command, "--picture", At("p.svg")]);
        Fail(ExitCode.Usage, ["is a folder"], [.. command, "--json", At()]);
        WriteTokens("test.bin", 1000);
        Assert.Contains(
            "Lengths above 512 exceed the model's context",
            Succeed("evaluate", "perplexity", "--model", Stories, "--data", At("test.bin"), "--lengths", "512,600", "--stride", "100"),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Report_tells_other_models_and_adapters_apart_and_leaves_no_result_out()
    {
        WriteRun("run");
        File.WriteAllText(At("run", "recipe.yaml"), "model: models/base\ndata: text\noutput: run\n");
        object Perplexity(string model, string? adapter) =>
            new
            {
                version = 1,
                kind = "perplexity",
                model,
                adapter,
                results = new[]
                {
                    new
                    {
                        context = 64,
                        loss = 1.0,
                        tokens = 63,
                    },
                },
            };
        var stretches = new[]
        {
            new
            {
                start = 0,
                tokens = 100,
                loss = 2.0,
            },
            new
            {
                start = 100,
                tokens = 100,
                loss = 3.0,
            },
        };
        foreach (
            var (name, content) in ((string, object)[])
                [
                    ("a", Perplexity("models/base", null)),
                    ("b", Perplexity("models/base", At("run", "adapter"))),
                    ("c", Perplexity("models/base", "/elsewhere/run/adapter")),
                    ("other", Perplexity("models/base", At("run2", "adapter"))),
                    ("merged", Perplexity("merged", null)),
                    (
                        "answers",
                        new
                        {
                            version = 1,
                            kind = "answers",
                            model = "models/base",
                            adapter = At("run", "adapter"),
                            loss = 1.25,
                            tokens = 1234,
                            examples = 17,
                            exact = 3,
                        }
                    ),
                    (
                        "streaming",
                        new
                        {
                            version = 1,
                            kind = "streaming",
                            model = "models/base",
                            results = new[] { new { kept = "4 sinks + 60", stretches } },
                        }
                    ),
                    (
                        "short",
                        new
                        {
                            version = 1,
                            kind = "short",
                            model = "models/base",
                            extended = At("run2", "adapter"),
                            native = 64,
                            results = new[]
                            {
                                new
                                {
                                    measure = "perplexity",
                                    length = 64,
                                    before = 3.0,
                                    after = 4.0,
                                },
                            },
                        }
                    ),
                ]
        )
            File.WriteAllText(At("run", name + ".json"), JsonSerializer.Serialize(content));
        Succeed("report", At("run"));
        var page = File.ReadAllText(At("run", "report.html"));
        foreach (var state in (string[])["before", "after", "other", "merged"])
            Assert.Contains($"<th scope=\"col\">perplexity {state}", page);
        Assert.Equal(2, page.Split("<th scope=\"col\">perplexity after").Length - 1);
        foreach (
            var wanted in (string[])
                ["1.250", "1,234", "word for word", "Perplexity along a text, before", "4 sinks + 60", "perplexity (short)"]
        )
            Assert.Contains(wanted, page);
    }

    [Fact]
    public void Report_says_what_it_cannot_read()
    {
        Directory.CreateDirectory(At("none"));
        Fail(ExitCode.Input, ["no metrics.jsonl"], "report", At("none"));
        WriteRun("none");
        File.WriteAllText(At("none", "notes.json"), "[1, 2]");
        Succeed("report", At("none"));
        File.WriteAllText(At("none", "bad.json"), JsonSerializer.Serialize(new { task = "perplexity" }));
        Fail(ExitCode.Input, ["Cannot read", "bad.json"], "report", At("none"));
        Fail(ExitCode.Usage, ["--adapter"], "evaluate", "short", "--model", Stories, "--data", At("none"));
    }

    // A run directory of one step.
    private void WriteRun(string name)
    {
        Directory.CreateDirectory(At(name));
        File.WriteAllText(
            At(name, "metrics.jsonl"),
            "{\"step\":1,\"steps\":2,\"loss\":3,\"learning_rate\":0.1,\"gradient_norm\":1,\"tokens\":8,\"tokens_per_second\":4,"
                + "\"elapsed_seconds\":2,\"memory_bytes\":1,\"peak_memory_bytes\":1}\n"
        );
    }
}
