using System.Text.Json;

namespace LongLora.Cli.Tests;

/// <summary><c>--json</c> without a file: one JSON object on standard output, and all else on standard error.</summary>
public class JsonOutputTests : CliRun
{
    // The results of a verb, and what it told people.
    private static (JsonElement Results, string Told) Ask(params string[] args)
    {
        var (code, output, error) = Run([.. args, "--json"]);
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        Assert.Equal('\n', output[^1]);
        return (JsonElement.Parse(output), error);
    }

    private static JsonElement Ask(string kind, params string[] args)
    {
        var (results, told) = Ask(args);
        Assert.Equal(kind, results.GetProperty("kind").GetString());
        Assert.Equal(1, results.GetProperty("version").GetInt32());
        Assert.NotEmpty(told);
        return results;
    }

    [Theory]
    [InlineData("quickstart")]
    [InlineData("reproduce")]
    [InlineData("train")]
    [InlineData("sft")]
    [InlineData("evaluate perplexity")]
    [InlineData("evaluate short")]
    [InlineData("evaluate passkey")]
    [InlineData("evaluate ruler")]
    [InlineData("evaluate answers")]
    [InlineData("evaluate streaming")]
    [InlineData("generate")]
    [InlineData("merge")]
    [InlineData("pull")]
    [InlineData("import gguf")]
    [InlineData("export safetensors")]
    [InlineData("export pytorch")]
    [InlineData("export gguf")]
    [InlineData("export adapter")]
    [InlineData("export split")]
    [InlineData("quantize")]
    [InlineData("prepare")]
    [InlineData("prepare qa")]
    [InlineData("inspect")]
    [InlineData("plan")]
    [InlineData("bench step")]
    [InlineData("bench decode")]
    [InlineData("bench dequantize")]
    [InlineData("tokenizer encode")]
    [InlineData("tokenizer train")]
    [InlineData("data practice")]
    [InlineData("data sdk-docs")]
    [InlineData("data windows")]
    [InlineData("data questions")]
    public void Every_verb_that_prints_figures_writes_them_as_json(string verb) =>
        Assert.Contains("--json [FILE]", Succeed([.. verb.Split(' '), "--help"]), StringComparison.Ordinal);

    [Fact]
    public void A_run_and_what_is_made_of_it_are_told_as_json()
    {
        var data = WriteTokens("train.bin", 3000);
        var run = Ask("train", ["train", "--model", Stories, "--data", data, "--context", "512", "--steps", "2", "--output", At("run")]);
        Assert.Equal(
            (At("run", "adapter"), 512, 2, 2),
            (
                run.GetProperty("result").GetString(),
                run.GetProperty("context").GetInt32(),
                run.GetProperty("steps").GetInt32(),
                run.GetProperty("steps_of_this_run").GetInt32()
            )
        );
        var last = JsonElement.Parse(File.ReadLines(run.GetProperty("metrics").GetString()!).Last());
        Assert.Equal(last.GetProperty("loss").GetDouble(), run.GetProperty("loss").GetDouble());
        string[] trained = ["--model", Stories, "--adapter", At("run", "adapter")];

        var merged = Ask("merge", ["merge", .. trained, "--output", At("merged")]);
        Assert.Equal((20, At("merged")), (merged.GetProperty("lora_pairs").GetInt32(), merged.GetProperty("model").GetString()));
        var folder = Ask("export-safetensors", ["export", "safetensors", .. trained, "--output", At("folder")]);
        Assert.Equal((1, 47), (folder.GetProperty("files").GetInt32(), folder.GetProperty("tensors").GetInt32()));
        var gguf = Ask("export-gguf", ["export", "gguf", .. trained, "--output", At("a.gguf"), "--type", "q8_0"]);
        Assert.Equal(new FileInfo(At("a.gguf")).Length, gguf.GetProperty("bytes").GetInt64());
        Assert.Equal(At("Modelfile"), gguf.GetProperty("modelfile").GetString());
        Assert.Equal(
            20,
            Ask("export-adapter", ["export", "adapter", .. trained, "--output", At("pair")]).GetProperty("lora_pairs").GetInt32()
        );
        Assert.Equal(
            12,
            Ask("export-split", ["export", "split", .. trained, "--output", At("split")]).GetProperty("trained_weights").GetInt32()
        );
        var imported = Ask("import-gguf", ["import", "gguf", At("a.gguf"), "--output", At("imported")]);
        Assert.Equal(("llama", 47), (imported.GetProperty("architecture").GetString(), imported.GetProperty("tensors").GetInt32()));
        var quantized = Ask("quantize", ["quantize", "--model", Stories, "--output", At("nf4")]);
        Assert.Equal(
            ("nf4", 0.516),
            (quantized.GetProperty("type").GetString(), Math.Round(quantized.GetProperty("bytes_per_weight").GetDouble(), 3))
        );
        var perplexity = Ask("perplexity", ["evaluate", "perplexity", "--model", Stories, "--data", data, "--context", "64"]);
        Assert.True(perplexity.GetProperty("results")[0].GetProperty("perplexity").GetDouble() > 1);
    }

    [Fact]
    public void Figures_of_data_are_told_as_json()
    {
        var practice = Ask("data", ["data", "practice", "--documents", "30", "--output", At("practice.jsonl")]);
        Assert.Equal((30, At("practice.jsonl")), (practice.GetProperty("documents").GetInt32(), practice.GetProperty("text").GetString()));
        var corpus = Ask("prepare", ["prepare", "--data", At("practice.jsonl"), "--output", At("corpus")]);
        Assert.Equal(30, corpus.GetProperty("documents").GetInt32());
        Assert.Equal(("characters", JsonValueKind.Null), (corpus.GetProperty("unit").GetString(), corpus.GetProperty("tokens").ValueKind));
        Assert.Equal(
            30,
            corpus.GetProperty("lengths").GetProperty("bins").EnumerateArray().Sum(b => b.GetProperty("documents").GetInt32())
        );
        Assert.Equal(".jsonl", corpus.GetProperty("kinds")[0].GetProperty("extension").GetString());
        var tokenizer = Ask(
            "tokenizer-train",
            ["tokenizer", "train", "--data", At("practice.jsonl"), "--vocabulary-size", "300", "--output", At("t")]
        );
        Assert.Equal(300, tokenizer.GetProperty("vocabulary_size").GetInt32());
        var windows = Ask(
            "data-windows",
            ["data", "windows", "--tokenizer", At("t"), "--context", "64", "--windows", "5", "--generated", "1", "--output", At("w.bin")]
        );
        Assert.Equal(64, windows.GetProperty("sha256").GetString()!.Length);
        var questions = Ask(
            "data-questions",
            ["data", "questions", "--data", At("practice.jsonl"), "--examples", "3", "--output", At("q.json")]
        );
        Assert.Equal((3, 30), (questions.GetProperty("examples").GetInt32(), questions.GetProperty("documents").GetInt32()));
        Assert.Equal(3, JsonElement.Parse(File.ReadAllText(questions.GetProperty("questions").GetString()!)).GetArrayLength());
        var answer = Ask("generate", ["generate", "--model", Stories, "--prompt", "Once", "--max-tokens", "4"]);
        Assert.Equal((4, "length"), (answer.GetProperty("tokens").GetInt32(), answer.GetProperty("finish").GetString()));
        Assert.NotEmpty(answer.GetProperty("text").GetString()!);
    }

    [Fact]
    public void A_dash_is_standard_output_and_a_name_is_a_file_beside_the_text()
    {
        string[] encode = ["tokenizer", "encode", "--model", Stories, "Once upon a time"];
        var (results, told) = Ask(encode);
        Assert.Equal(results.GetRawText(), JsonElement.Parse(Succeed([.. encode, "--json", "-"])).GetRawText());
        Assert.Equal(told, Succeed([.. encode, "--json", At("ids.json")]));
        Assert.Equal(results.GetRawText(), JsonElement.Parse(File.ReadAllText(At("ids.json"))).GetRawText());
    }

    [Fact]
    public void Json_of_texts_is_refused() =>
        Fail(ExitCode.Usage, ["--show shows texts"], "prepare", "--data", WriteTokens("a.bin", 10), "--show", "1", "--json");
}
