using LongLora.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Cli.Tests;

/// <summary>Everything that users get wrong, or that the world does to their files: message and exit code.</summary>
public class BadInputTests : CliRun
{
    private string[] Train(string model, params string[] more) =>
        [
            "train",
            "--model",
            model,
            "--data",
            At("train.bin"),
            "--context",
            "600",
            "--output",
            At("run"),
            "--steps",
            "1",
            "--gradient-accumulation",
            "1",
            .. more,
        ];

    public BadInputTests() => WriteTokens("train.bin", 5_000);

    [Fact]
    public void Half_a_character_in_a_config_is_damage_of_the_file()
    {
        var model = WriteModel("half", config: c => c.Replace("\"llama\"", "\"\\ud800\"", StringComparison.Ordinal));
        Fail(ExitCode.Input, ["config.json", "half of a character"], Train(model));
        Fail(ExitCode.Input, ["config.json", "half of a character"], "inspect", model);
        Directory.CreateDirectory(At("adapter"));
        File.WriteAllText(At("adapter", "adapter_config.json"), """{"peft_type":"\ud800"}""");
        Fail(ExitCode.Input, ["adapter_config.json"], "merge", "--model", Stories, "--adapter", At("adapter"), "--output", At("merged"));
    }

    [Theory]
    [InlineData("context: [1")]
    [InlineData("data: [a, *b")]
    [InlineData("? [*a]\n: - &a")]
    public void Recipe_that_is_not_YAML_is_wrong_usage(string recipe)
    {
        File.WriteAllText(At("bad.yaml"), recipe);
        Fail(ExitCode.Usage, ["bad.yaml"], "train", "--recipe", At("bad.yaml"));
    }

    [Fact]
    public void Messages_have_at_most_500_characters()
    {
        var name = new string('x', 3000);
        var (code, _, error) = Run("train", "--model", name, "--data", "y", "--context", "600", "--output", At("run"));
        Assert.Equal(ExitCode.Input, code);
        Assert.InRange(error.TrimEnd().Length, 300, 500);
        File.WriteAllText(At("long.yaml"), string.Concat(Enumerable.Range(0, 500).Select(i => $"unknown-{i}: {i}\n")));
        (code, _, error) = Run("train", "--recipe", At("long.yaml"));
        Assert.Equal(ExitCode.Usage, code);
        Assert.InRange(error.TrimEnd().Length, 300, 500);
        (code, _, error) = Run("train", "--" + name);
        Assert.Equal(ExitCode.Usage, code);
        Assert.All(error.Split('\n'), line => Assert.InRange(line.Length, 0, 500));
    }

    [Fact]
    public void Missing_shard_is_named()
    {
        var model = WriteModel("sharded", maxShardBytes: 400_000);
        Succeed("inspect", model);
        File.Delete(At("sharded", "model-00002-of-00003.safetensors"));
        Fail(ExitCode.Input, ["model-00002-of-00003.safetensors"], Train(model));
    }

    [Fact]
    public void Truncated_file_is_named_with_both_sizes()
    {
        var model = WriteModel("short");
        var file = At("short", "model.safetensors");
        var bytes = File.ReadAllBytes(file);
        File.WriteAllBytes(file, bytes[..^100]);
        Fail(ExitCode.Input, ["model.safetensors", "truncated"], Train(model));
    }

    [Fact]
    public void Tensor_of_the_wrong_shape_is_named_with_both_shapes()
    {
        var model = WriteModel("shape", change: t => t.Name == "model.norm.weight" ? TensorToWrite.Of(t.Name, ones(65)) : t);
        Fail(ExitCode.Input, ["model.norm.weight", "[65]", "[64]"], Train(model));
        Fail(ExitCode.Input, ["model.norm.weight", "[65]", "[64]"], "inspect", model);
    }

    [Fact]
    public void Missing_and_superfluous_tensors_are_named()
    {
        Fail(ExitCode.Input, ["model.norm.weight"], Train(WriteModel("less", change: t => t.Name == "model.norm.weight" ? null : t)));
        var more = WriteModel("more", config: c =>
            c.Replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 4", StringComparison.Ordinal)
        );
        Fail(ExitCode.Input, ["model.layers.4.", "is not part of the model"], Train(more));
    }

    [Fact]
    public void Weight_that_is_not_a_number_is_named_with_its_place()
    {
        var model = WriteModel("nan", change: t =>
        {
            if (t.Name != "model.layers.2.mlp.up_proj.weight")
                return t;
            var value = t.Value().clone();
            value.view(-1)[77] = float.NaN;
            return TensorToWrite.Of(t.Name, value);
        });
        Fail(ExitCode.Input, ["model.layers.2.mlp.up_proj.weight", "NaN", "77"], Train(model));
    }

    [Fact]
    public void Unknown_config_field_is_refused_with_its_value()
    {
        var model = WriteModel("field", config: c =>
            c.Replace("\"vocab_size\"", "\"residual_multiplier\": 0.22, \"vocab_size\"", StringComparison.Ordinal)
        );
        Fail(ExitCode.Input, ["residual_multiplier", "0.22", "config.json"], Train(model));
    }

    [Fact]
    public void Unsupported_family_is_refused_with_those_that_are_supported()
    {
        var model = WriteModel("family", config: c =>
            c.Replace("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"", StringComparison.Ordinal)
        );
        Fail(ExitCode.Input, ["mamba", "llama"], Train(model));
    }

    [Fact]
    public void Unknown_recipe_key_is_refused_with_line_and_nearest_name()
    {
        File.WriteAllText(At("r.yaml"), "context: 600\nlerning-rate: 0.001\n");
        Fail(ExitCode.Usage, ["r.yaml:2", "lerning-rate", "Did you mean 'learning-rate'?"], "train", "--recipe", At("r.yaml"));
        File.WriteAllText(At("r.yaml"), "context: 600\nsteps: many\n");
        Fail(ExitCode.Usage, ["r.yaml:2", "many"], "train", "--recipe", At("r.yaml"));
        File.WriteAllText(At("r.yaml"), "attention: shifted-spars\n");
        Fail(ExitCode.Usage, ["r.yaml:1", "shifted-sparse"], "train", "--recipe", At("r.yaml"));
    }

    [Fact]
    public void Unknown_flag_and_verb_are_refused_with_the_nearest()
    {
        Fail(ExitCode.Usage, ["--contxt", "--context"], "train", "--contxt", "600");
        Fail(ExitCode.Usage, ["tran"], "tran");
    }

    [Fact]
    public void All_wrong_options_are_listed_at_once() =>
        Fail(
            ExitCode.Usage,
            ["rank is 0", "beta2 is 1", "group-size is 7", "warmup-steps is -1"],
            Train(Stories, "--rank", "0", "--beta2", "1", "--group-size", "7", "--warmup-steps", "-1")
        );

    [Fact]
    public void Corpus_that_is_empty_short_or_missing_is_refused()
    {
        File.WriteAllText(At("empty.txt"), "");
        Fail(ExitCode.Input, ["empty"], Data(At("empty.txt")));
        File.WriteAllText(At("short.txt"), "Once upon a time there was a girl.");
        Fail(ExitCode.Input, ["600", "tokens"], Data(At("short.txt")));
        Fail(ExitCode.Input, ["nowhere.txt"], Data(At("nowhere.txt")));
        File.WriteAllText(At("bad.jsonl"), "{\"text\": \"a\"}\n{\"body\": \"b\"}\n");
        Fail(ExitCode.Input, ["bad.jsonl:2", "body"], Data(At("bad.jsonl")));
        File.WriteAllBytes(At("ids.bin"), [0, 0, 255, 255]);
        Fail(ExitCode.Input, ["ids.bin", "65535", "512"], Data(At("ids.bin")));
    }

    private string[] Data(string path) =>
        ["train", "--model", Stories, "--data", path, "--context", "600", "--output", At("run"), "--steps", "1"];

    [Fact]
    public void Context_below_the_native_one_is_refused() =>
        Fail(
            ExitCode.Usage,
            ["300", "512"],
            "train",
            "--model",
            Stories,
            "--data",
            At("train.bin"),
            "--context",
            "300",
            "--output",
            At("run")
        );

    [Fact]
    public void Output_that_cannot_be_written_is_refused()
    {
        File.WriteAllText(At("file"), "");
        Fail(
            ExitCode.Usage,
            ["Cannot write", "file"],
            "train",
            "--model",
            Stories,
            "--data",
            At("train.bin"),
            "--context",
            "600",
            "--output",
            At("file", "run"),
            "--steps",
            "1"
        );
        Fail(
            ExitCode.Usage,
            ["not empty"],
            "train",
            "--model",
            Stories,
            "--data",
            At("train.bin"),
            "--context",
            "600",
            "--output",
            Folder,
            "--steps",
            "1"
        );
    }

    [Fact]
    public void Model_folder_that_is_none_is_refused()
    {
        Fail(ExitCode.Input, ["no model folder"], Train(At("nowhere")));
        Fail(ExitCode.Input, ["config.json"], Train(Folder));
        File.WriteAllText(At("config.json"), "{ not json");
        Fail(ExitCode.Input, ["config.json", "JSON"], Train(Folder));
    }

    // Wider, and with more layers than the adapter knows.
    [Theory]
    [InlineData("merge", "--output", "m")]
    [InlineData("generate", "--prompt", "x")]
    public void Adapter_of_a_smaller_model_is_not_called_incomplete(string verb, string option, string value)
    {
        string[] run = ["--context", "512", "--steps", "1", "--gradient-accumulation", "1", "--output", At("run")];
        Succeed(["train", "--model", Stories, "--data", WriteTokens("data.bin", 1500), .. run]);
        var tiny = Repository.At("models", "longlora-tiny");
        foreach (var more in new string[][] { [], ["--allow-missing"] })
        {
            string[] models = ["--model", tiny, "--adapter", At("run", "adapter")];
            var (code, _, error) = Run([verb, .. models, option, value == "m" ? At("m") : value, .. more]);
            Assert.True(code == ExitCode.Input, $"exit code {code}: {error}");
            Assert.Contains($"another base ('{Stories}')", error, StringComparison.Ordinal);
            Assert.DoesNotContain("incompletely", error, StringComparison.Ordinal);
        }
        Assert.False(Directory.Exists(At("m")));
    }

    [Fact]
    public void Adapter_of_another_model_is_refused()
    {
        var adapter = Path.Combine(AppContext.BaseDirectory, "Goldens", "llama_tiny_lora");
        var model = WriteModel(
            "one",
            c => c.Replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 1", StringComparison.Ordinal),
            t => System.Text.RegularExpressions.Regex.IsMatch(t.Name, "layers\\.[1-4]") ? null : t
        );
        Fail(
            ExitCode.Input,
            ["adapter_model.safetensors", "layers.1", "another base"],
            "merge",
            "--model",
            model,
            "--adapter",
            adapter,
            "--output",
            At("m")
        );
        Assert.False(Directory.Exists(At("m")));
    }
}
