using LongLora.Runs;
using LongLora.Runtime;

namespace LongLora.Cli.Tests;

/// <summary>Two processes and one run directory.</summary>
public partial class IntegrityTests
{
    [Fact]
    public void A_second_process_is_refused_by_name_and_the_lock_of_a_dead_one_is_taken()
    {
        Copy("run");
        var told = new List<string>();
        using (RunLock.Take(At("run"), told.Add))
        {
            string[] expected = [$"process {Environment.ProcessId} on {Environment.MachineName}", RunLock.FileName];
            Fail(ExitCode.Usage, expected, Resume("run"));
            Fail(ExitCode.Usage, expected, TrainTests.MakeArguments(At("train.bin"), At("run")));
            var text = File.ReadAllText(At("run", RunLock.FileName));
            // Of another machine nothing is known.
            File.WriteAllText(
                At("run", RunLock.FileName),
                text.Replace($"\"{Environment.MachineName}\"", "\"elsewhere\"", StringComparison.Ordinal)
                    .Replace($"{Environment.ProcessId}", $"{NoProcess}", StringComparison.Ordinal)
            );
            Fail(ExitCode.Usage, [$"process {NoProcess} on elsewhere", "delete"], Resume("run"));
            // A process of the same number that began at another time, no such process, and what a full disk left.
            var start = text.LastIndexOf(':') + 2;
            foreach (
                var left in new[]
                {
                    text.Insert(start, "1"),
                    text.Replace($"{Environment.ProcessId}", $"{NoProcess}", StringComparison.Ordinal),
                    "",
                    "null",
                    "{\"Host\"",
                }
            )
            {
                File.WriteAllText(At("run", RunLock.FileName), left);
                Assert.Contains("taken over", Continue(Resume("run")).Error, StringComparison.Ordinal);
                Assert.False(File.Exists(At("run", RunLock.FileName)));
            }
        }
        Assert.Empty(told);
        Assert.Empty(Directory.GetFiles(At("run"), RunLock.FileName + "*"));
    }

    // Found by scripts/reliability/kill-train.sh: killed between writing a lock and giving it its name.
    [Fact]
    public void What_a_killed_process_left_beside_a_lock_is_removed()
    {
        Copy("run");
        foreach (var name in (string[])[RunLock.FileName, RunLock.FileName + ".old"])
            File.WriteAllText(At("run", $"{name}.partial-{NoProcess}"), "");
        Continue(Resume("run"));
        Assert.Empty(Directory.GetFiles(At("run"), RunLock.FileName + "*"));
    }

    [Fact]
    public void A_lock_is_taken_by_one_of_many()
    {
        Directory.CreateDirectory(At("run"));
        File.WriteAllText(At("run", RunLock.FileName), "");
        using var first = RunLock.Take(At("run"), _ => { });
        Parallel.For(0, 8, _ => Assert.Throws<ConfigurationException>(() => RunLock.RequireFree(At("run"))));
        first.Dispose();
        RunLock.RequireFree(At("run"));
    }
}
