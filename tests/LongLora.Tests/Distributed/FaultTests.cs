using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Tests.Architecture;

namespace LongLora.Tests.Distributed;

/// <summary>What becomes of a job when something happens to one of its ranks. Further faults: tests/ranks/faults.sh.</summary>
public partial class FaultTests
{
    private const int Lost = 75;

    public static TheoryData<string, string, string> Silent =>
        new()
        {
            { "mpirun.openmpi", "stop 0", "rank 0 (" },
            { "mpirun.mpich", "stop 2", "rank 2 (" },
            { "mpirun.openmpi", "hang 2", "rank 2 (" },
            { "mpirun.mpich", "hang 0", "rank 0 (" },
        };

    [Theory]
    [MemberData(nameof(Silent))]
    public void A_rank_that_is_stuck_is_named_once_and_the_job_ends(string launcher, string fault, string named)
    {
        var job = RankProcess.Start(launcher, 3, fault);
        Assert.True(job.Code == Lost, job.ToString());
        var lines = job.Error.Split('\n').Where(l => l.Contains("The job is ended", StringComparison.Ordinal)).ToList();
        Assert.Contains(named, Assert.Single(lines), StringComparison.Ordinal);
        AssertAllGone(job);
    }

    [Theory]
    [InlineData("mpirun.openmpi", "kill 0")]
    [InlineData("mpirun.mpich", "kill 2")]
    public void A_rank_that_is_killed_ends_the_job(string launcher, string fault)
    {
        var job = RankProcess.Start(launcher, 3, fault);
        Assert.NotEqual(0, job.Code);
        AssertAllGone(job);
    }

    [Theory]
    [InlineData("mpirun.openmpi", "throw 2", "rank 2 (")]
    [InlineData("mpirun.mpich", "throw 0", "rank 0 (")]
    public void An_error_on_one_rank_is_printed_once_with_its_exit_code(string launcher, string fault, string named)
    {
        var job = RankProcess.Start(launcher, 3, fault);
        Assert.True(job.Code == 3, job.ToString());
        var line = Assert.Single(job.Error.Split('\n'), l => l.Contains("a bad file", StringComparison.Ordinal));
        Assert.Contains(named, line, StringComparison.Ordinal);
        AssertAllGone(job);
    }

    [Theory]
    [InlineData("mpirun.openmpi")]
    [InlineData("mpirun.mpich")]
    public void An_error_on_all_ranks_is_printed_once_without_a_rank(string launcher)
    {
        var job = RankProcess.Start(launcher, 3, "throw");
        Assert.True(job.Code == 3, job.ToString());
        var line = Assert.Single(job.Error.Split('\n'), l => l.Contains("a bad file", StringComparison.Ordinal));
        Assert.DoesNotContain("rank", line, StringComparison.Ordinal);
        Assert.DoesNotContain("MPI_Abort", job.Error, StringComparison.OrdinalIgnoreCase);
        AssertAllGone(job);
    }

    [Fact]
    public void Ranks_that_call_different_operations_are_told()
    {
        var job = RankProcess.Start("mpirun.mpich", 3, "part 1");
        Assert.True(job.Code == Lost, job.ToString());
        Assert.Contains("all ranks wait for", job.Error, StringComparison.Ordinal);
        Assert.Contains("for broadcast (from 0), operation", job.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rank_that_is_slow_but_alive_is_waited_for()
    {
        var job = RankProcess.Start("mpirun.openmpi", 2, "slow 1");
        Assert.True(job.Code == 0, job.ToString());
    }

    [Fact]
    public void A_link_that_is_set_down_ends_the_job_on_both_sides()
    {
        MpiJob.Require("mpirun.openmpi");
        Assert.SkipUnless(Environment.UserName == "root", "network namespaces need root");
        Assert.SkipUnless(
            Try("ip", ["netns", "add", "longlora-probe"]).Code == 0,
            "this machine has no network namespaces; install iproute2"
        );
        Try("ip", ["netns", "del", "longlora-probe"]);
        var script = Repository.At("tests", "ranks", "link-down.sh");
        var (code, output) = Try("bash", [script, Path.Combine(AppContext.BaseDirectory, "LongLora.Tests")]);
        Assert.True(code == 0, output);
        Assert.Contains("mpirun ended after", output, StringComparison.Ordinal);
        Assert.Contains("with exit code 75", output, StringComparison.Ordinal);
    }

    private static (int Code, string Output) Try(string program, string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
            using var process = Process.Start(start)!;
            var error = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, $"{output}\n{error.Result}");
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (-1, e.Message);
        }
    }

    // The fault prints its process; the others go with the launcher, and no later than some seconds after it.
    private static void AssertAllGone(MpiJob job)
    {
        foreach (Match match in FaultLine().Matches(job.Error + job.Output))
        {
            var pid = int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
            Assert.True(SpinWait.SpinUntil(() => !IsAlive(pid), TimeSpan.FromSeconds(10)), $"process {pid} is still there");
        }
    }

    private static bool IsAlive(int pid)
    {
        try
        {
            return !File.ReadAllText($"/proc/{pid}/stat").Contains(") Z ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    [GeneratedRegex(@"pid (\d+)")]
    private static partial Regex FaultLine();
}
