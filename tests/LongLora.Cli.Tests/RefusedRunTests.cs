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
}
