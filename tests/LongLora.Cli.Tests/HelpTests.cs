using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Options;

namespace LongLora.Cli.Tests;

public class HelpTests : CliRun
{
    public static TheoryData<string> Commands =>
        [
            "",
            "quickstart",
            "reproduce",
            "train",
            "sft",
            "evaluate",
            "evaluate perplexity",
            "evaluate short",
            "evaluate passkey",
            "evaluate lines",
            "evaluate topics",
            "evaluate ruler",
            "evaluate answers",
            "evaluate streaming",
            "chat",
            "serve",
            "generate",
            "merge",
            "pull",
            "import gguf",
            "export",
            "export split",
            "quantize",
            "prepare",
            "prepare qa",
            "report",
            "inspect",
            "plan",
            "bench",
            "bench step",
            "bench decode",
            "tokenizer",
            "tokenizer encode",
            "tokenizer train",
            "data",
            "data practice",
            "data sdk-docs",
            "data windows",
            "data questions",
            "completion",
            "help",
        ];

    [Theory]
    [MemberData(nameof(Commands))]
    public void Help_of_every_command_fits_80_columns_and_has_no_escapes(string command)
    {
        string[] words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var help = Succeed([.. words, "--help"]);
        Assert.Contains($"Usage: {string.Join(' ', words.Prepend("longlora"))}", help, StringComparison.Ordinal);
        Assert.All(help.Split('\n'), line => Assert.True(line.TrimEnd().Length <= 80, line));
        Assert.DoesNotContain('\x1b', help);
        Assert.Equal(help, Succeed([.. words, "-h"]));
        Assert.Equal(help, Succeed(["help", .. words]));
    }

    [Fact]
    public void Tokenizer_alone_in_a_folder_is_shown()
    {
        Directory.CreateDirectory(At("alone"));
        foreach (var file in Directory.GetFiles(Stories, "*token*"))
            File.Copy(file, At("alone", Path.GetFileName(file)));
        string Encode(string model) => Succeed("tokenizer", "encode", "--model", model, "Once upon a time");
        Assert.Equal(Encode(Stories), Encode(At("alone")));
        File.Copy(Path.Combine(Stories, "config.json"), At("alone", "config.json")); // still no weights
        Assert.Equal(Encode(Stories), Encode(At("alone")));
        Directory.CreateDirectory(At("empty"));
        Fail(ExitCode.Input, ["has no tokenizer"], "tokenizer", "encode", "--model", At("empty"), "x");
        Fail(ExitCode.Input, ["There is no model"], "tokenizer", "encode", "--model", At("none"), "x");
    }

    [Fact]
    public void Encode_shows_ids_and_texts_of_tokens()
    {
        string[] lines = Succeed("tokenizer", "encode", "--model", Stories, "Once upon a time", "--json", At("ids.json"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);
        using var json = JsonDocument.Parse(File.ReadAllText(At("ids.json")));
        Assert.Equal(
            json.RootElement.GetProperty("ids").EnumerateArray().Select(i => $"{i.GetInt32(), 7}"),
            lines.Select(line => line[..7])
        );
        Assert.Equal("      1  \"<s>\"", lines[0]);
        Assert.Equal("Once upon a time", string.Concat(lines.Skip(1).Select(l => JsonSerializer.Deserialize<string>(l[9..]))).Trim());
        var plain = RunWith("Once upon a time", default, "tokenizer", "encode", "--model", Stories, "--plain").Output;
        Assert.Equal(lines.Skip(1).Select(l => l[..7]), plain.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l[..7]));
    }

    [Fact]
    public void Inspect_writes_what_it_shows_as_json()
    {
        var shown = Succeed("inspect", Stories, "--json", At("inspect.json"));
        using var json = JsonDocument.Parse(File.ReadAllText(At("inspect.json")));
        foreach (var fact in json.RootElement.GetProperty("facts").EnumerateObject())
            Assert.Matches($@"{Regex.Escape(fact.Name)} +{Regex.Escape(fact.Value.GetString()!)}", shown);
        Assert.Contains(json.RootElement.GetProperty("tensors").EnumerateArray(), t =>
            t.GetProperty("name").GetString() == "model.norm.weight" && t.GetProperty("bytes").GetInt64() == 256
        );
    }

    [Fact]
    public void Quiet_runs_print_the_result_and_the_same_files()
    {
        var model = WriteOneLayer("model");
        var data = WriteTokens("tokens.bin", 3000);
        string[] train = ["train", "--model", model, "--data", data, "--context", "512", "--steps", "2", "--output"];
        Succeed([.. train, At("loud")]);
        var (code, output, error) = Run([.. train, At("quiet"), "--quiet"]);
        Assert.Equal((ExitCode.Done, $"Result: {At("quiet", "adapter")}\n"), (code, output.ReplaceLineEndings("\n")));
        Assert.Contains("440 of 3,000 tokens", error, StringComparison.Ordinal);
        Assert.Equal(
            File.ReadAllBytes(At("loud", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("quiet", "adapter", "adapter_model.safetensors"))
        );
    }

    [Fact]
    public void Help_of_an_unknown_command_names_the_nearest() =>
        Fail(ExitCode.Usage, ["'longlora evaluate perplexty'", "'perplexity'"], "help", "evaluate", "perplexty");

    [Fact]
    public void Help_of_a_command_with_two_letters_exchanged_names_the_nearest() =>
        Fail(ExitCode.Usage, ["'longlora trian'", "'train'"], "help", "trian");

    [Theory]
    [InlineData("longlora tra", "train")]
    [InlineData("longlora evaluate p", "perplexity|passkey")]
    [InlineData("./longlora train --rope-s", "--rope-scaling")]
    [InlineData("longlora quantize --ty", "--type")]
    public void Complete_prints_what_can_follow(string line, string expected)
    {
        string[] found = Succeed("complete", $"{line.Length}", line).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Superset(expected.Split('|').ToHashSet(), found.ToHashSet());
        Assert.All(found, f => Assert.StartsWith(line.Split(' ')[^1], f, StringComparison.Ordinal));
        Assert.Equal(
            found,
            Succeed("complete", $"{line.Length}", line + " what stands after the cursor").Split('\n', StringSplitOptions.RemoveEmptyEntries)
        );
    }

    [Theory]
    [InlineData("bash", "-n")]
    [InlineData("zsh", "-n")]
    [InlineData("fish", "--no-execute")]
    public void Completion_scripts_are_right_in_their_shells(string shell, string check)
    {
        File.WriteAllText(At("script"), Succeed("completion", shell));
        if (!File.Exists($"/usr/bin/{shell}") && !File.Exists($"/bin/{shell}"))
            Assert.Skip($"{shell} is not installed");
        using var process = System.Diagnostics.Process.Start(shell, [check, At("script")]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }

    [Fact]
    public void Help_of_train_has_every_option_under_its_heading_with_its_default()
    {
        var help = Succeed("train", "--help");
        var sections = help.Split("\n\n")
            .ToDictionary(
                s => s.Split('\n')[0].TrimEnd(':'),
                s => string.Join(' ', s.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries))
            );
        Assert.All(FineTuneOptionTable.All, option =>
            Assert.Contains($"--{option.Name} ", sections[option.Group], StringComparison.Ordinal)
        );
        Assert.Contains("--learning-rate X peak learning rate [default: 2e-5]", sections["Training"], StringComparison.Ordinal);
        Assert.Contains(
            "--attention shifted-sparse|full|grouped|dilated attention during training [default: shifted-sparse]",
            sections["Method"],
            StringComparison.Ordinal
        );
        Assert.Contains("--recipe FILE", sections["Run"], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("generate", "--max-tokens N maximum tokens to generate [default: 256]")]
    [InlineData("generate", "--top-p X sample from the smallest set of tokens with this total probability [default: 1]")]
    [InlineData("bench step", "--activation-memory auto|SIZE memory for activations that would otherwise be recomputed")]
    [InlineData("train", "--activation-memory auto|SIZE memory for activations that would otherwise be recomputed")]
    [InlineData("bench step", "--activation-offload none|host|disk|auto where activations are kept for the backward pass [default: none]")]
    [InlineData("bench step", "--full [true|false] also measure full attention [default: true]")]
    public void Default_of_an_option_is_shown_where_its_text_does_not_say_it(string command, string expected) =>
        Assert.Contains(
            expected,
            string.Join(' ', Succeed([.. command.Split(' '), "--help"]).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)),
            StringComparison.Ordinal
        );

    [Theory]
    [InlineData("passkey")]
    [InlineData("lines")]
    [InlineData("topics")]
    [InlineData("ruler")]
    [InlineData("short")]
    public void Default_of_the_seed_is_the_same_in_every_evaluation(string task) =>
        Assert.Matches("--seed S +seed for the first [a-z ]+ \\[default: 0\\]", Succeed("evaluate", task, "--help"));

    [Theory]
    [InlineData("--model")]
    [InlineData("--adapter")]
    [InlineData("--device")]
    [InlineData("--quantization")]
    [InlineData("--cache-type")]
    [InlineData("--lengths")]
    [InlineData("--seed")]
    [InlineData("--json")]
    [InlineData("--picture")]
    [InlineData("--output")]
    public void Option_of_several_verbs_is_declared_once(string name)
    {
        var files = Directory
            .EnumerateFiles(Repository.At("src", "LongLora.Cli"), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
            .Where(file =>
                Regex.IsMatch(File.ReadAllText(file), $"(Option<[^\\n]*|new|base)\\(\"{name}\"|(name|const string Flag) = \"{name}\"")
            );
        Assert.Equal("Arguments", Path.GetFileName(Path.GetDirectoryName(Assert.Single(files))));
    }

    [Fact]
    public void Version_is_that_of_the_recipe() => Assert.Equal(Recipe.Version, Succeed("--version").Trim());

    [Fact]
    public void Command_that_needs_another_word_shows_its_help()
    {
        Fail(ExitCode.Usage, ["Commands:", "train", "inspect"]);
        Fail(ExitCode.Usage, ["Commands:", "perplexity"], "evaluate");
    }

    [Fact]
    public void Unknown_words_are_refused_with_the_nearest()
    {
        Fail(ExitCode.Usage, ["There is no command 'tran'. Did you mean 'train'?"], "tran");
        Fail(ExitCode.Usage, ["There is no command 'perplexty'. Did you mean 'perplexity'?"], "evaluate", "perplexty");
        Fail(
            ExitCode.Usage,
            ["There is no option --contxt. Did you mean '--context'?", "longlora train --help"],
            "train",
            "--contxt",
            "600"
        );
        Fail(ExitCode.Usage, ["'600' does not belong to any option."], "train", "600");
        Fail(ExitCode.Usage, ["--model"], "merge", "--adapter", "a", "--output", "b");
    }

    [Theory]
    [InlineData("pull", "longlora pull needs NAME: ORG/NAME on the Hugging Face Hub")]
    [InlineData("inspect", "longlora inspect needs PATH: model folder")]
    [InlineData("report", "longlora report needs RUN_DIR: run directories.")]
    [InlineData("completion", "longlora completion needs SHELL: bash, zsh, fish or pwsh.")]
    [InlineData("import gguf --output x", "longlora import gguf needs FILE: .gguf file")]
    [InlineData("import gguf", "longlora import gguf needs --output DIR: output folder")]
    [InlineData("merge --adapter a", "longlora merge needs --model MODEL: base model")]
    [InlineData("tokenizer train --data", "--data has no value. Give it as --data PATH: files and folders with text.")]
    [InlineData("completion tcsh", "SHELL is 'tcsh'; it must be one of bash, zsh, fish, pwsh.")]
    [InlineData("quickstart --steps many", "--steps is 'many'; it must be a whole number.")]
    [InlineData("reproduce --learning-rate fast", "--learning-rate is 'fast'; it must be a number such as 0.5 or 2e-5.")]
    public void What_is_missing_or_wrong_is_said_in_our_words(string line, string expected)
    {
        var (code, _, error) = Run(line.Split(' '));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.DoesNotContain("argument", error, StringComparison.OrdinalIgnoreCase);
    }

    // Every verb, with nothing at all, and with one option after the other that has no value.
    [Theory]
    [MemberData(nameof(Commands))]
    public void Parser_never_speaks_for_itself(string command)
    {
        string[] words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var flags = Regex
            .Matches(Succeed([.. words, "--help"]), "^  (--[a-z-]+) [A-Z]", RegexOptions.Multiline)
            .Select(m => m.Groups[1].Value);
        foreach (var flag in flags)
        {
            var (code, _, error) = Run([.. words, flag]);
            Assert.Equal(ExitCode.Usage, code);
            Assert.DoesNotMatch("(?i)required argument|is required|cannot parse|not recognized", error);
            Assert.Matches("needs|has no value", error);
        }
    }

    [Fact]
    public void Values_of_the_wrong_kind_are_all_named_at_once() =>
        Fail(
            ExitCode.Usage,
            [
                "--rank is 'x'; it must be a whole number.",
                "--learning-rate is 'q'",
                "--shuffle is 'maybe'",
                "--tuning is 'lora+'; it must be one of lora-plus, lora, full.",
            ],
            "train",
            "--rank",
            "x",
            "--learning-rate",
            "q",
            "--shuffle",
            "maybe",
            "--tuning",
            "lora+"
        );

    [Theory]
    [InlineData(",")]
    [InlineData("512,1")]
    [InlineData("512;1024")]
    public void Lengths_that_are_none_are_refused_under_the_name_that_was_given(string lengths)
    {
        foreach (var option in new[] { "--context", "--lengths" })
            Fail(
                ExitCode.Usage,
                [$"{option} is '{lengths}'"],
                "evaluate",
                "perplexity",
                "--model",
                Stories,
                "--data",
                "x.txt",
                option,
                lengths
            );
    }
}
