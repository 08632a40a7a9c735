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
            "tokenizer train",
            "data",
            "data practice",
            "data sdk-docs",
            "data windows",
            "data questions",
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
            "--attention shifted-sparse|full|grouped|dilated attention while training [default: shifted-sparse]",
            sections["Method"],
            StringComparison.Ordinal
        );
        Assert.Contains("--recipe FILE", sections["Run"], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("generate", "--max-tokens N most tokens to generate [default: 256]")]
    [InlineData("generate", "--top-p X sample among the fewest tokens with this probability together [default: 1]")]
    [InlineData("bench step", "--activation-offload none|host|disk|auto where activations wait for the backward pass [default: none]")]
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
        Assert.Matches("--seed S +seed of the first [a-z ]+ \\[default: 0\\]", Succeed("evaluate", task, "--help"));

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
            .Where(file => Regex.IsMatch(File.ReadAllText(file), $"(Option<[^\\n]*|new|base)\\(\"{name}\"|name = \"{name}\""));
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

    [Fact]
    public void Values_of_the_wrong_kind_are_all_named_at_once() =>
        Fail(
            ExitCode.Usage,
            [
                "--rank is 'x'; it must be a whole number.",
                "--learning-rate is 'q'",
                "--shuffle is 'maybe'",
                "--tuning is 'lora+'; it can be lora-plus, lora, full.",
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
