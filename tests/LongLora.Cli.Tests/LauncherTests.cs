using System.Diagnostics;
using LongLora.Training;

namespace LongLora.Cli.Tests;

public class LauncherTests : CliRun
{
    // The script itself, through a link and from another folder, with a signal from outside: what no test in one process can see.
    [Fact]
    public void Launcher_interrupted_saves_exits_130_and_resumes()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the launcher of Windows is longlora.cmd");
        WriteTokens("train.bin", 20_000);
        File.CreateSymbolicLink(At("link"), Repository.At("longlora"));
        string[] arguments =
        [
            "train",
            "--model",
            Stories,
            "--data",
            "train.bin",
            "--context",
            "512",
            "--output",
            "a run",
            "--gradient-accumulation",
            "1",
            "--device",
            "cpu",
        ];

        using var first = Start([.. arguments, "--steps", "1000000"]);
        while (!first.HasExited && !(File.Exists(At("a run", "metrics.jsonl")) && new FileInfo(At("a run", "metrics.jsonl")).Length > 0))
            Thread.Sleep(20);
        // Like Ctrl-C; but a test run in the background has children that ignore the interrupt itself.
        using (var kill = Process.Start("kill", ["-TERM", $"{first.Id}"]))
            kill.WaitForExit();
        var (code, output, error) = Finish(first);
        Assert.True(code == ExitCode.Interrupted, $"exit code {code}: {error}");
        Assert.Contains("Interrupted. The state was saved.", error, StringComparison.Ordinal);
        Assert.DoesNotContain('\x1b', output + error);
        var done = MetricsLog.Read(At("a run"))[^1].Step;
        Assert.True(Directory.Exists(At("a run", "checkpoints", $"step-{done:D6}")));

        using var second = Start([.. arguments, "--steps", $"{done + 1}", "--resume"]);
        (code, output, error) = Finish(second);
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        Assert.Contains("--adapter \"a run", output, StringComparison.Ordinal);
        Assert.Equal(Enumerable.Range(1, done + 1), MetricsLog.Read(At("a run")).Select(s => s.Step));
        Assert.True(File.Exists(At("a run", "loss.png")));
    }

    private Process Start(string[] arguments) =>
        Process.Start(
            new ProcessStartInfo(At("link"), arguments)
            {
                WorkingDirectory = Folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;

    private static (int Code, string Output, string Error) Finish(Process process)
    {
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }
}
