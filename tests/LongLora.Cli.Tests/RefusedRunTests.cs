namespace LongLora.Cli.Tests;

/// <summary>A training run that is refused: by which words, and what is left of it.</summary>
public class RefusedRunTests : CliRun
{
    private static string[] Train(params string[] more) => [.. (string[])["train", "--model", Stories, "--steps", "1"], .. more];

    public RefusedRunTests()
    {
        WriteTokens("train.bin", 3_000);
        File.WriteAllText(At("empty.txt"), "");
    }

    [Theory]
    [InlineData("--target-modules foo")]
    [InlineData("--context 256")]
    [InlineData("--data DIR/train.bin@abc")]
    [InlineData("--data DIR/empty.txt")]
    [InlineData("--data DIR/none")]
    [InlineData("--rope-scaling strange")]
    [InlineData("--from-scratch DIR/config.json --tuning full --data DIR/none --model ")]
    public void Folders_that_it_made_are_gone_and_those_before_stay(string options)
    {
        File.Copy(Path.Combine(Stories, "config.json"), At("config.json"), overwrite: true);
        var given = options.Replace("DIR", Folder, StringComparison.Ordinal).Split(' ');
        string[] Add(string name, string value) => given.Contains(name) ? [] : [name, value];
        string[] arguments =
        [
            "train",
            .. Add("--model", Stories),
            .. Add("--data", At("train.bin")),
            .. Add("--context", "1024"),
            "--steps",
            "1",
            .. given,
        ];
        foreach (var output in new[] { At("before", "made", "run"), At("before", "run") + Path.DirectorySeparatorChar })
        {
            Directory.CreateDirectory(At("before"));
            var (code, _, error) = Run([.. arguments, "--output", output]);
            Assert.True(code is ExitCode.Usage or ExitCode.Input, $"{code}: {error}");
            Assert.Empty(Directory.GetFileSystemEntries(At("before")));
        }
        Directory.CreateDirectory(At("before", "run"));
        Assert.NotEqual(ExitCode.Done, Run([.. arguments, "--output", At("before", "run")]).Code);
        Assert.True(Directory.Exists(At("before", "run")));
    }

    [Theory]
    [InlineData("--tuning full --rank 64", "rank is 64, but it applies only to LoRA, and tuning is full")]
    [InlineData("--tuning full --adapter-kind dora", "adapter-kind is dora, but it applies only to LoRA")]
    [InlineData("--template llama2", "template is llama2, but it applies only to conversations, and task is text")]
    [InlineData("--rope-scaling default --rope-factor 4", "rope-factor is 4, but rope-scaling is default")]
    [InlineData("--attention full --group-size 64", "group-size is 64, but attention is full")]
    [InlineData("--task sft --token-bytes 2", "token-bytes is 2, but it applies only to plain text")]
    [InlineData("--task sft --context 256 --rope-factor 2", "rope-factor is 2, but context is 256")]
    public void Option_without_an_effect_is_refused_by_name(string options, string problem)
    {
        var given = options.Split(' ');
        Fail(
            ExitCode.Usage,
            [problem],
            Train([
                "--data",
                At("train.bin"),
                "--output",
                At("run"),
                .. given.Contains("--context") ? Array.Empty<string>() : ["--context", "1024"],
                .. given,
            ])
        );
    }

    [Theory]
    [InlineData("--template llama2")]
    [InlineData("--template auto")]
    [InlineData("--keep-reasoning")]
    [InlineData("--template-options a=b")]
    public void Prepare_refuses_options_of_show_without_it(string option)
    {
        string[] prepare = ["prepare", "--data", At("empty.txt"), "--output", At("corpus")];
        Fail(ExitCode.Usage, [$"{option.Split(' ')[0]} applies only with --show"], [.. prepare, .. option.Split(' ')]);
        Assert.False(Directory.Exists(At("corpus")));
    }

    [Fact]
    public void Options_of_another_device_or_layout_are_refused()
    {
        string[] plan = ["plan", "--model", "llama-2-7b", "--context", "4096", "--rate", "1", "--device"];
        Fail(ExitCode.Usage, ["--host-memory applies only with --device cuda"], [.. plan, "cpu", "--host-memory", "8"]);
        Succeed([.. plan, "cuda", "--memory", "80", "--host-memory", "8"]);
        string[] export = ["export", "adapter", "--model", Stories, "--adapter", At("none"), "--output", At("out"), "--no-padding-row"];
        Fail(ExitCode.Usage, ["--no-padding-row applies only with --layout longlora"], export);
    }

    [Theory]
    [InlineData("train", "--model DIR|--data PATH[@WEIGHT]|--context N|--output DIR")]
    [InlineData("sft", "--model DIR|--data PATH[@WEIGHT]|--context N|--output DIR")]
    [InlineData("sft --show 1", "--model DIR|--data PATH[@WEIGHT]|--context N")]
    [InlineData("plan", "--model DIR|--context N")]
    [InlineData("plan --model llama-2-7b", "--context N: new context in tokens.")]
    [InlineData("train --model m --data d --output o", "--context N: new context in tokens.")]
    [InlineData("train --from-scratch c --tuning full --data d --output o", "--context N: new context in tokens.")]
    [InlineData("train --model m --data d --context 8", "--output DIR")]
    public void What_is_missing_is_named_and_nothing_else(string line, string missing)
    {
        var words = line.Split(' ');
        var (code, _, error) = Run(words);
        Assert.Equal(ExitCode.Usage, code);
        Assert.Equal(
            missing.Split('|').Select(m => $"longlora {words[0]} needs {m}").Select(m => m.Split(':')[0]),
            error.TrimEnd().Split(Environment.NewLine).Select(l => l.Split(':')[0])
        );
        Assert.DoesNotContain("required", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_context_of_0_that_was_given_is_not_missing() =>
        Fail(ExitCode.Usage, ["context is 0; it must be at least 2 tokens"], "plan", "--model", "llama-2-7b", "--context", "0");

    [Theory]
    [InlineData("--extend-to 100", "--extend-to is 100, but the model already has 512 tokens. Give more than 512, or leave it out.")]
    [InlineData("--extend-to 512", "--extend-to is 512, but the model already has 512 tokens.")]
    [InlineData("--extend-to 4096 --rope-scaling default", "--rope-scaling is default, which does not rescale")]
    public void Positions_that_would_not_be_rescaled_are_refused(string options, string problem)
    {
        string[] measure = ["evaluate", "perplexity", "--model", Stories, "--data", At("train.bin"), "--context", "64"];
        Fail(ExitCode.Usage, [problem], [.. measure, .. options.Split(' ')]);
    }
}
