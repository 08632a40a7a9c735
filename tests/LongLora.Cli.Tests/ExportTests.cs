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

    [Fact]
    public void Pair_comes_back_with_its_positions_and_says_what_other_programs_make_of_them()
    {
        var data = WriteTokens("data.bin", 1500);
        foreach (var kind in new[] { "yarn", "linear" })
        {
            string[] run = ["--context", "1024", "--steps", "1", "--gradient-accumulation", "1", "--rope-scaling", kind];
            Succeed(["train", "--model", Stories, "--data", data, .. run, "--output", At(kind)]);
            string[] trained = ["--model", Stories, "--adapter", At(kind, "adapter")];
            var pair = At(kind + "-pair");
            var (code, output, error) = Run(["export", "adapter", .. trained, "--output", pair, "--layout", "longlora"]);
            Assert.Equal(ExitCode.Done, code);
            Assert.Contains($"Context: 1024 tokens, RoPE {kind}", output, StringComparison.Ordinal);
            Assert.Equal(kind != "linear", error.Contains("always rescale positions linearly", StringComparison.Ordinal));

            string Positions(string folder)
            {
                using var config = JsonDocument.Parse(File.ReadAllText(At(folder, "config.json")));
                return config.RootElement.GetProperty("rope_scaling").ToString();
            }
            Succeed(["merge", .. trained, "--output", At(kind + "-merged")]);
            string[] read = ["merge", "--model", Stories, "--adapter", pair, "--keep-vocabulary"];
            Assert.DoesNotContain("assumed", Run([.. read, "--output", At(kind + "-again")]).Error, StringComparison.Ordinal);
            Assert.Equal(Positions(kind + "-merged"), Positions(kind + "-again"));

            foreach (var file in new[] { "longlora_model.json", "checksums.xxh128" })
                File.Delete(Path.Combine(pair, file));
            Fail(ExitCode.Usage, ["Use --adapter-context"], [.. read, "--output", At("none")]);
            Fail(ExitCode.Usage, ["needs --adapter-context"], [.. read, "--output", At("none"), "--adapter-scaling", "yarn"]);
            string[] told = [.. read, "--adapter-context", "1024"];
            var assumed = Run([.. told, "--output", At(kind + "-assumed")]).Error;
            Assert.Contains("Linear positions are assumed", assumed, StringComparison.Ordinal);
            Assert.Contains("--adapter-scaling", assumed, StringComparison.Ordinal);
            Assert.Contains("linear", Positions(kind + "-assumed"), StringComparison.Ordinal);
            var stated = Run([.. told, "--adapter-scaling", kind, "--output", At(kind + "-stated")]).Error;
            Assert.DoesNotContain("assumed", stated, StringComparison.Ordinal);
            Assert.Equal(Positions(kind + "-merged"), Positions(kind + "-stated"));

            string[] evaluate = ["evaluate", "perplexity", "--model", Stories, "--data", data, "--context", "64"];
            string[] adapter = ["--adapter", pair, "--adapter-context", "1024"];
            Assert.Contains("Linear positions are assumed", Run([.. evaluate, .. adapter]).Error, StringComparison.Ordinal);
            string[] generate = ["generate", "--model", Stories, "--prompt", "Once", "--max-tokens", "1"];
            Assert.Contains("Linear positions are assumed", Run([.. generate, .. adapter]).Error, StringComparison.Ordinal);
        }
    }

    public static TheoryData<string> Writers =>
        [
            "export safetensors --output .",
            "export pytorch --output .",
            "export gguf --output ./model.gguf",
            "export gguf --output ./other",
            "export adapter --adapter none --output .",
            "export split --adapter none --output .",
            "merge --adapter none --output .",
            "quantize --quantization int8 --output .",
            "train --data none --context 512 --output .",
            "prepare --data none --output .",
            "tokenizer train --data none --output .",
            "bench step --context 64 --steps 1 --export-peer .",
        ];

    [Theory]
    [MemberData(nameof(Writers))]
    public void Files_of_the_user_are_never_replaced(string command)
    {
        string[] names =
        [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
            "step.safetensors",
            "model.gguf",
            "Modelfile",
            "model.Modelfile",
            "other.Modelfile",
            "adapter_config.json",
            "documents.jsonl",
            "tokens.bin",
        ];
        Directory.CreateDirectory(At("mine"));
        foreach (var name in names)
            File.WriteAllText(At("mine", name), "mine");
        File.WriteAllText(At("none.txt"), "text");
        var words = command
            .Split(' ')
            .Select(w =>
                w == "none" ? At("none.txt")
                : w[0] == '.' ? At("mine") + w[1..]
                : w
            );
        string[] model = command.StartsWith("tokenizer", StringComparison.Ordinal) ? [] : ["--model", Stories];
        var (code, _, error) = Run([.. words, .. model]);
        Assert.True(code == ExitCode.Usage, $"exit code {code}: {error}");
        Assert.Equal(names.Order(), Directory.GetFileSystemEntries(At("mine")).Select(Path.GetFileName).Order());
        Assert.All(names, name => Assert.Equal("mine", File.ReadAllText(At("mine", name))));
    }

    [Fact]
    public void Each_gguf_file_has_a_Modelfile_of_its_own()
    {
        var first = Succeed("export", "gguf", "--model", Stories, "--output", At("alone", "a.gguf"));
        Assert.Contains($"Ollama: {At("alone", "Modelfile")}", first, StringComparison.Ordinal);
        Assert.StartsWith("FROM ./a.gguf\n", File.ReadAllText(At("alone", "Modelfile")), StringComparison.Ordinal);
        File.WriteAllText(At("Modelfile"), "mine");
        foreach (var name in new[] { "a.gguf", "b.1.gguf", "c" })
        {
            Assert.Contains(
                $"Ollama: {At(name.Replace(".gguf", "", StringComparison.Ordinal))}.Modelfile",
                Succeed("export", "gguf", "--model", Stories, "--output", At(name)),
                StringComparison.Ordinal
            );
        }
        Assert.StartsWith("FROM ./b.1.gguf\n", File.ReadAllText(At("b.1.Modelfile")), StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(At("Modelfile")));
        Fail(ExitCode.Usage, ["a.gguf' because it exists"], "export", "gguf", "--model", Stories, "--output", At("a.gguf"));
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
