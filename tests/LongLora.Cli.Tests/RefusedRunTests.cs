namespace LongLora.Cli.Tests;

/// <summary>A training run that is refused: by which words, and what is left of it.</summary>
public class RefusedRunTests : CliRun
{
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
}
