namespace LongLora.Cli.Tests;

/// <summary>One training that several tests begin with: each takes a copy, so that none sees what another did to it.</summary>
public sealed class FinishedRun : CliRun
{
    public FinishedRun()
    {
        WriteTokens("train.bin", 20_000);
        Output = Succeed(TrainTests.MakeArguments(At("train.bin"), At("run")));
    }

    /// <summary>What the command said.</summary>
    public string Output { get; }

    /// <summary>Copies the run directory.</summary>
    public void CopyTo(string folder)
    {
        foreach (var file in Directory.EnumerateFiles(At("run"), "*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(folder, Path.GetRelativePath(At("run"), file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
    }
}
