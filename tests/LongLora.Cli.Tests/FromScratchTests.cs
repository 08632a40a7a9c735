using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Runs;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Cli.Tests;

public class FromScratchTests : CliRun
{
    private const string Config = """
        {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 320,
         "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16"}
        """;

    [Fact]
    public void From_text_to_a_tokenizer_windows_and_a_model_that_goes_on_longer()
    {
        Succeed("data", "practice", "--documents", "80", "--characters", "600", "--output", At("practice.jsonl"));
        Succeed("tokenizer", "train", "--data", At("practice.jsonl"), "--vocabulary-size", "320", "--output", At("tokenizer"));
        string[] windows =
        [
            "data",
            "windows",
            "--tokenizer",
            At("tokenizer"),
            "--data",
            At("practice.jsonl"),
            "--weights",
            "4",
            "2",
            "1",
            "0",
            "0",
        ];
        var made = Succeed([.. windows, "--context", "64", "--windows", "200", "--output", At("a.bin")]);
        Assert.Equal(200 * 64 * 2, new FileInfo(At("a.bin")).Length);
        Assert.Equal(
            made.Split('\n')[0],
            Succeed([.. windows, "--context", "64", "--windows", "200", "--output", At("b.bin")]).Split('\n')[0]
        );

        File.WriteAllText(At("config.json"), Config);
        string[] common =
        [
            "--tuning",
            "full",
            "--attention",
            "full",
            "--batch-size",
            "8",
            "--gradient-accumulation",
            "1",
            "--learning-rate",
            "5e-3",
            "--warmup-steps",
            "2",
        ];
        string[] train =
        [
            "train",
            "--from-scratch",
            At("config.json"),
            "--tokenizer",
            At("tokenizer"),
            "--data",
            At("a.bin"),
            "--context",
            "64",
            .. common,
        ];
        Succeed([.. train, "--steps", "12", "--save-every", "6", "--output", At("run")]);
        var losses = MetricsLog.Read(At("run")).Select(s => s.Loss).ToList();
        Assert.Equal(Math.Log(320), losses[0], 0.2); // knows nothing yet
        Assert.True(losses[^1] < losses[0] - 0.5, $"the loss went from {losses[0]} to {losses[^1]}");

        using (var model = CheckpointDirectory.Open(At("run", "model")))
        {
            Assert.Equal(64, model.Config.MaxPositions);
            Assert.All(model.Tensors.Values, t => Assert.Equal(ScalarType.BFloat16, t.Type));
        }
        Assert.True(File.Exists(At("run", "model", "tokenizer.json")));

        // A run that was cut short goes on to the same bits.
        Succeed([.. train, "--steps", "6", "--output", At("short")]);
        Succeed([.. train, "--steps", "12", "--output", At("short"), "--resume"]);
        Assert.Equal(
            File.ReadAllBytes(At("run", "model", "model.safetensors")),
            File.ReadAllBytes(At("short", "model", "model.safetensors"))
        );

        Succeed([.. windows, "--context", "128", "--windows", "60", "--output", At("c.bin")]);
        Succeed([
            "train",
            "--model",
            At("run", "model"),
            "--rope-scaling",
            "default",
            "--data",
            At("c.bin"),
            "--context",
            "128",
            .. common,
            "--steps",
            "2",
            "--output",
            At("longer"),
        ]);
        var longer = ModelConfigReader.ReadFile(At("longer", "model", "config.json"));
        Assert.Equal((128, "default"), (longer.MaxPositions, longer.RopeScaling.Kind));
    }

    [Fact]
    public void New_models_begin_as_their_config_says_and_alike_for_a_seed()
    {
        File.WriteAllText(At("config.json"), Config.Replace("bfloat16", "float32", StringComparison.Ordinal));
        NewModel.Write(At("one"), At("config.json"), null, 64, 5);
        NewModel.Write(At("same"), At("config.json"), null, 64, 5);
        NewModel.Write(At("other"), At("config.json"), null, 64, 6);
        Assert.Equal(File.ReadAllBytes(At("one", "model.safetensors")), File.ReadAllBytes(At("same", "model.safetensors")));
        Assert.NotEqual(File.ReadAllBytes(At("one", "model.safetensors")), File.ReadAllBytes(At("other", "model.safetensors")));
        using var folder = CheckpointDirectory.Open(At("one"));
        double Deviation(string name) => folder.Open(name).std().item<float>();
        Assert.Equal(0.02, Deviation("model.embed_tokens.weight"), 0.001);
        Assert.Equal(0.02, Deviation("model.layers.0.mlp.up_proj.weight"), 0.002);
        Assert.Equal(0.01, Deviation("model.layers.1.mlp.down_proj.weight"), 0.001); // 0.02 / sqrt(2 * 2)
        Assert.Equal(0.01, Deviation("model.layers.0.self_attn.o_proj.weight"), 0.001);
        Assert.Equal(1, folder.Open("model.norm.weight").min().item<float>());
    }

    // A model, its text and its conversations are made where the run begins: the data is read by what is known before.
    [Fact]
    public void From_scratch_keeps_its_tokens_in_a_cache_that_the_next_run_finds()
    {
        File.WriteAllText(At("config.json"), Config.Replace("320", "512", StringComparison.Ordinal));
        File.WriteAllLines(At("text.txt"), Enumerable.Range(0, 300).Select(i => $"Tim had {i} red dogs, and Lily {i * i}."));
        string[] train =
        [
            "train",
            "--from-scratch",
            At("config.json"),
            "--tokenizer",
            Stories,
            "--data",
            At("text.txt"),
            "--token-cache",
            At("cache"),
            "--context",
            "64",
            "--tuning",
            "full",
            "--attention",
            "full",
            "--steps",
            "2",
            "--gradient-accumulation",
            "1",
        ];
        Succeed([.. train, "--output", At("one")]);
        var tokens = Assert.Single(Directory.GetFiles(At("cache")));
        var made = File.GetLastWriteTimeUtc(tokens);
        Succeed([.. train, "--output", At("two")]);
        Assert.Equal([tokens], Directory.GetFiles(At("cache")));
        Assert.Equal(made, File.GetLastWriteTimeUtc(tokens));
        Assert.Equal(
            File.ReadAllBytes(At("one", "model", "model.safetensors")),
            File.ReadAllBytes(At("two", "model", "model.safetensors"))
        );
    }

    [Fact]
    public void From_scratch_learns_conversations_with_the_template_of_the_tokenizers_folder()
    {
        File.WriteAllText(At("config.json"), Config.Replace("320", "512", StringComparison.Ordinal));
        Directory.CreateDirectory(At("tokenizer"));
        foreach (var file in Directory.GetFiles(Stories, "*token*"))
            File.Copy(file, At("tokenizer", Path.GetFileName(file)));
        const string Template = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}";
        File.WriteAllText(At("tokenizer", "chat_template.jinja"), Template);
        File.WriteAllText(At("sft.jsonl"), """{"instruction": "Who?", "output": "A red dog."}""");
        string[] sft =
        [
            "sft",
            "--from-scratch",
            At("config.json"),
            "--tokenizer",
            At("tokenizer"),
            "--data",
            At("sft.jsonl"),
            "--context",
            "64",
            "--tuning",
            "full",
            "--attention",
            "full",
            "--steps",
            "1",
            "--gradient-accumulation",
            "1",
            "--output",
            At("run"),
        ];
        var shown = string.Concat(Succeed([.. sft, "--show", "1"]).Split('|', '⟦', '⟧')); // tokens, and what is only read
        Assert.Contains("user: Who?</s> assistant: A red dog.</s>", shown, StringComparison.Ordinal);
        Succeed(sft);
        // The model that comes out is talked to in the same way.
        Assert.Equal(Template, File.ReadAllText(At("run", "model", "chat_template.jinja")));
        var (code, _, error) = RunWith("Who?", default, "chat", "--model", At("run", "model"), "--max-tokens", "2");
        Assert.True(code == ExitCode.Done, error);
    }

    [Fact]
    public void Options_that_do_not_go_together_are_refused()
    {
        File.WriteAllText(At("config.json"), Config);
        Fail(
            ExitCode.Usage,
            ["from-scratch trains every weight; use --tuning full"],
            "train",
            "--from-scratch",
            At("config.json"),
            "--data",
            "x",
            "--context",
            "64",
            "--output",
            At("o")
        );
        Fail(
            ExitCode.Usage,
            ["model is 'm' and from-scratch is"],
            "train",
            "--from-scratch",
            At("config.json"),
            "--model",
            "m",
            "--tuning",
            "full",
            "--data",
            "x",
            "--context",
            "64",
            "--output",
            At("o")
        );
        Fail(
            ExitCode.Usage,
            ["applies only with from-scratch"],
            "train",
            "--model",
            "m",
            "--tokenizer",
            "t",
            "--data",
            "x",
            "--context",
            "64",
            "--output",
            At("o")
        );
        Fail(
            ExitCode.Usage,
            ["weights has 7 numbers"],
            "data",
            "windows",
            "--tokenizer",
            "t",
            "--context",
            "64",
            "--windows",
            "1",
            "--weights",
            "1",
            "2",
            "3",
            "4",
            "5",
            "6",
            "7",
            "--output",
            At("o")
        );
    }

    [Fact]
    public void Documentation_of_the_sdk_is_written_as_lines_of_text()
    {
        Assert.SkipWhen(Data.XmlDocumentation.FindSdkFiles().Count == 0, "there is no documentation of .NET here");
        Succeed("data", "sdk-docs", "--every", "200", "--output", At("sdk.jsonl"));
        var texts = File.ReadLines(At("sdk.jsonl"))
            .Select(l => JsonDocument.Parse(l).RootElement.GetProperty("text").GetString()!)
            .ToList();
        Assert.InRange(texts.Count, 10, 200);
        Assert.Contains(texts, t => t.Contains("Returns: ", StringComparison.Ordinal));
        Assert.All(texts, t => Assert.DoesNotContain("<see", t, StringComparison.Ordinal));
    }
}
