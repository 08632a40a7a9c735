using System.Diagnostics;
using System.Text.Json;
using LongLora.Tests.Distributed;
using LongLora.Training;

namespace LongLora.Cli.Tests;

/// <summary>The command line as several ranks, under both launchers, against one process.</summary>
public class RankRunTests : CliRun
{
    private static string[] Program => ["dotnet", Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.dll")];

    private string[] Arguments(string output, int steps = 3, int accumulation = 6, string? model = null) =>
        [
            "train",
            "--model",
            model ?? WriteOnce(),
            "--data",
            At("train.bin"),
            "--context",
            "512",
            "--output",
            At(output),
            "--steps",
            $"{steps}",
            "--gradient-accumulation",
            $"{accumulation}",
            "--learning-rate",
            "2e-3",
            "--warmup-steps",
            "1",
            "--device",
            "cpu",
        ];

    private string WriteOnce()
    {
        if (!File.Exists(At("train.bin")))
            WriteTokens("train.bin", 20_000);
        return Directory.Exists(At("model")) ? At("model") : WriteOneLayer("model");
    }

    private byte[] Adapter(string output) => File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"));

    private static MpiJob Start(
        string launcher,
        int size,
        string[] arguments,
        Action<Process>? meanwhile = null,
        params (string, string?)[] variables
    ) => MpiJob.Run(launcher, size, [.. Program, .. arguments], meanwhile, variables.ToDictionary());

    [Theory]
    [InlineData("mpirun.openmpi", 3)]
    [InlineData("mpirun.mpich", 4)]
    [InlineData("mpirun.openmpi", 4, "--shard", "optimizer")]
    public void Train_several_ranks_write_the_bytes_of_one(string launcher, int size, params string[] more)
    {
        MpiJob.Require(launcher);
        Succeed(Arguments("one"));
        var job = Start(launcher, size, [.. Arguments("many"), .. more]);
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        Assert.Equal(Adapter("one"), Adapter("many"));
        Assert.Equal(MetricsLog.Read(At("one")).Select(s => s.Loss), MetricsLog.Read(At("many")).Select(s => s.Loss));
        // Rank 0 alone talks, without control characters.
        Assert.Single(job.Output.Split('\n'), l => l.Contains("step 3/3", StringComparison.Ordinal));
        Assert.Single(job.Output.Split('\n'), l => l.StartsWith("Result:", StringComparison.Ordinal));
        Assert.DoesNotContain('\x1b', job.Output + job.Error);
        using var ranks = JsonDocument.Parse(File.ReadAllText(At("many", "ranks.json")));
        Assert.Equal(Enumerable.Range(0, size), ranks.RootElement.EnumerateArray().Select(r => r.GetProperty("rank").GetInt32()));
        Assert.False(File.Exists(At("one", "ranks.json")));
        Assert.False(File.Exists(At("many", "run.lock")));
    }

    // 4 ranks leave two without a micro-batch in the last round.
    [Theory]
    [InlineData("mpirun.openmpi", 2)]
    [InlineData("mpirun.openmpi", 4, "--quantization", "nf4", "--blocks-per-segment", "2")]
    [InlineData("mpirun.mpich", 3, "--adapter-kind", "dora")]
    [InlineData("mpirun.mpich", 6, "--quantization", "int8")]
    public void Train_ranks_that_divide_the_model_write_the_bytes_of_one(string launcher, int size, params string[] more)
    {
        MpiJob.Require(launcher);
        WriteTokens("train.bin", 20_000);
        string[] Of(string output) => [.. Arguments(output, model: Stories), .. more];
        Succeed(Of("one"));
        var job = Start(launcher, size, [.. Of("many"), "--shard", "model"]);
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        Assert.Equal(Adapter("one"), Adapter("many"));
    }

    [Theory]
    [InlineData("mpirun.openmpi")]
    [InlineData("mpirun.mpich")]
    public void Train_a_signal_to_the_launcher_saves_and_other_numbers_of_ranks_resume(string launcher)
    {
        MpiJob.Require(launcher);
        var job = Start(launcher, 2, Arguments("run", 1_000_000), process =>
        {
            var log = At("run", "metrics.jsonl");
            while (!process.HasExited && !(File.Exists(log) && new FileInfo(log).Length > 0))
                Thread.Sleep(20);
            using var kill = Process.Start("kill", ["-USR1", $"{process.Id}"]);
            kill.WaitForExit();
        });
        // MPICH's launcher now and then gives 0 after a signal, whatever its processes give: a shell script's 130 too.
        Assert.True(job.Code == ExitCode.Interrupted || (job.Code == 0 && launcher == "mpirun.mpich"), job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.StartsWith("Interrupted. The state was saved.", StringComparison.Ordinal));
        var done = MetricsLog.Read(At("run"))[^1].Step;
        var rest = Start(launcher, 3, [.. Arguments("run", done + 2), "--resume"]);
        Assert.True(rest.Code == ExitCode.Done, rest.ToString());
        Succeed(Arguments("one", done + 2));
        Assert.Equal(Adapter("one"), Adapter("run"));
    }

    // UCX, on which MPICH is built, would write into functions that other threads are in.
    [Theory]
    [InlineData("mpirun.openmpi")]
    [InlineData("mpirun.mpich")]
    public void Train_no_library_of_mpi_changes_the_code_of_the_c_library(string launcher)
    {
        MpiJob.Require(launcher);
        var parts = new List<int>();
        Start(launcher, 2, Arguments("run", 1_000_000), process =>
        {
            var log = At("run", "metrics.jsonl");
            while (!process.HasExited && !(File.Exists(log) && new FileInfo(log).Length > 0))
                Thread.Sleep(20);
            foreach (var rank in Directory.GetDirectories("/proc").Where(name => int.TryParse(Path.GetFileName(name), out _)))
            {
                if (ReadMaps(rank) is { } maps && maps.Contains("libmpi", StringComparison.Ordinal))
                    parts.Add(
                        maps.Split('\n')
                            .Count(line =>
                                line.Contains(" r-xp ", StringComparison.Ordinal) && line.EndsWith("/libc.so.6", StringComparison.Ordinal)
                            )
                    );
            }
            using var kill = Process.Start("kill", ["-USR1", $"{process.Id}"]);
            kill.WaitForExit();
        });
        Assert.True(parts.Count >= 2, $"{parts.Count} processes with a library of MPI");
        Assert.All(parts, count => Assert.Equal(1, count)); // a page that is written becomes a part of its own

        static string? ReadMaps(string process)
        {
            try
            {
                return File.ReadAllText(Path.Combine(process, "maps"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null; // it has ended
            }
        }
    }

    [Fact]
    public void Train_one_process_maps_no_library_of_mpi()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "only Linux tells what is mapped");
        Succeed(Arguments("run"));
        var maps = File.ReadAllText("/proc/self/maps");
        Assert.Contains("libtorch", maps, StringComparison.Ordinal); // it would be seen
        Assert.DoesNotContain("libmpi", maps, StringComparison.Ordinal);
    }

    public static TheoryData<string, string[], string> Refused =>
        new()
        {
            { "mpirun.openmpi", ["generate", "--model", "m", "--prompt", "p"], "Cannot run longlora generate on 2 ranks" },
            { "mpirun.mpich", ["chat", "--model", "m"], "Cannot run longlora chat on 2 ranks" },
            {
                "mpirun.openmpi",
                ["evaluate", "short", "--model", "m", "--data", "d", "--adapter", "a"],
                "Cannot run longlora evaluate short on 2 ranks because it works in one process. Start it without Open MPI's "
                    + "mpirun. On several run: longlora train, longlora sft, longlora evaluate perplexity, longlora evaluate passkey, "
                    + "longlora evaluate lines, longlora evaluate topics, longlora evaluate ruler."
            },
            {
                "mpirun.mpich",
                ["evaluate", "streaming", "--model", "m", "--data", "d"],
                "Cannot run longlora evaluate streaming on 2 ranks"
            },
            {
                "mpirun.mpich",
                ["evaluate", "answers", "--model", "m", "--data", "d", "--context", "64"],
                "Cannot run longlora evaluate answers on 2 ranks"
            },
            { "mpirun.openmpi", ["evaluate", "passkey", "--model", "m"], "longlora evaluate passkey needs --lengths" },
            { "mpirun.mpich", ["train", "--steps", "many"], "steps is 'many'" },
            { "mpirun.openmpi", ["train", "--no-such-option"], "There is no option --no-such-option" },
        };

    [Theory]
    [MemberData(nameof(Refused))]
    public void Run_what_several_ranks_cannot_do_is_refused_once(string launcher, string[] arguments, string message)
    {
        var job = Start(launcher, 2, arguments);
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains(message, StringComparison.Ordinal));
    }

    [Fact]
    public void Train_more_ranks_than_micro_batches_are_refused_once()
    {
        var job = Start("mpirun.openmpi", 3, Arguments("run", accumulation: 2));
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        var line = Assert.Single(job.Error.Split('\n'), l => l.Contains("Cannot use 3 ranks", StringComparison.Ordinal));
        Assert.Contains("--gradient-accumulation", line, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("run")));
    }

    [Fact]
    public void Train_an_output_that_is_taken_is_refused_once()
    {
        Directory.CreateDirectory(At("run"));
        File.WriteAllText(At("run", "mine.txt"), "");
        var job = Start("mpirun.mpich", 3, Arguments("run"));
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains("is not empty", StringComparison.Ordinal));
    }

    [Fact]
    public void Train_the_library_of_another_launcher_is_refused_once()
    {
        MpiJob.Require("mpirun.openmpi");
        var job = Start("mpirun.mpich", 2, Arguments("run"), null, ("OMPI_COMM_WORLD_SIZE", "2"));
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains("started 2 processes, but Open MPI", StringComparison.Ordinal));
        Assert.False(Directory.Exists(At("run")));
    }

    [Theory]
    [InlineData("7", "1", true)]
    [InlineData("7", "0", false)] // it may still run
    [InlineData("8", "1", false)]
    public void Train_a_lock_that_an_earlier_start_of_the_slurm_job_left_elsewhere_is_taken_over(string job, string restarts, bool isFree)
    {
        Directory.CreateDirectory(At("run"));
        File.WriteAllText(
            At("run", "run.lock"),
            """{"Host":"elsewhere","Pid":5,"Started":"2026-01-01T00:00:00Z","Job":"7","Restarts":0,"Process":"x 1"}"""
        );
        var (code, error) = StartAlone(Arguments("run", steps: 1), ("SLURM_JOB_ID", job), ("SLURM_RESTART_COUNT", restarts));
        Assert.True(code == (isFree ? ExitCode.Done : ExitCode.Usage), error);
        Assert.Contains(isFree ? "taken over" : "process 5 on elsewhere", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_tasks_of_slurm_that_do_not_know_each_other_are_refused()
    {
        var (code, error) = StartAlone(Arguments("run"), ("SLURM_NTASKS", "4"));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("srun --mpi=pmix", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("run")));
    }

    [Fact]
    public void Run_what_all_ranks_refuse_is_left_to_rank_0_to_say()
    {
        // Open MPI 5 ends all as soon as one has ended. Rank 1 is silent and must not be the first.
        var started = Stopwatch.StartNew();
        var (code, error) = StartAlone(["merge", "--model", "m"], ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "1"));
        Assert.Equal((ExitCode.Usage, ""), (code, error));
        Assert.InRange(started.Elapsed.TotalSeconds, 5, double.MaxValue);
    }

    private static (int Code, string Error) StartAlone(string[] arguments, params (string Name, string Value)[] variables)
    {
        var start = new ProcessStartInfo(Program[0], [Program[1], .. arguments])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        using var process = Process.Start(start)!;
        process.BeginOutputReadLine();
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, error);
    }

    [Fact]
    public void Evaluate_perplexity_several_ranks_write_the_figures_of_one()
    {
        MpiJob.Require("mpirun.openmpi");
        WriteOnce();
        WriteTokens("test.bin", 3_000);
        string[] arguments =
        [
            "evaluate",
            "perplexity",
            "--model",
            At("model"),
            "--data",
            At("test.bin"),
            "--lengths",
            "128,512",
            "--device",
            "cpu",
        ];
        Succeed([.. arguments, "--json", At("one.json")]);
        var job = Start("mpirun.openmpi", 3, [.. arguments, "--json", At("many.json")]);
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        Assert.Equal(File.ReadAllText(At("one.json")), File.ReadAllText(At("many.json")));
    }

    // What one rank would do, up to the rounding of sums in another order.
    [Theory]
    [InlineData("mpirun.openmpi", 4, 2, "longlora")]
    [InlineData("mpirun.mpich", 3, 3, "document")]
    public void Evaluate_perplexity_ranks_that_share_a_window_find_that_of_one(string launcher, int ranks, int parts, string protocol)
    {
        MpiJob.Require(launcher);
        WriteTokens("test.bin", 3_000);
        var model = Repository.At("models", "longlora-tiny");
        string[] arguments = ["evaluate", "perplexity", "--model", model, "--data", At("test.bin"), "--lengths", "129,1000"];
        arguments = [.. arguments, "--device", "cpu", "--protocol", protocol];
        Succeed([.. arguments, "--json", At("one.json")]);
        var job = Start(launcher, ranks, [.. arguments, "--json", At("many.json"), "--sequence-parallel", $"{parts}"]);
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        using JsonDocument one = JsonDocument.Parse(File.ReadAllText(At("one.json"))),
            many = JsonDocument.Parse(File.ReadAllText(At("many.json")));
        static JsonElement[] Results(JsonDocument file) => [.. file.RootElement.GetProperty("results").EnumerateArray()];
        Assert.Equal(2, Results(one).Length);
        Assert.Equal(2, Results(many).Length);
        foreach (var (expected, found) in Results(one).Zip(Results(many)))
        {
            Assert.Equal(expected.GetProperty("tokens").GetInt64(), found.GetProperty("tokens").GetInt64());
            var ratio = found.GetProperty("perplexity").GetDouble() / expected.GetProperty("perplexity").GetDouble();
            Assert.InRange(Math.Abs(ratio - 1), 0, 1e-6);
        }
    }

    [Theory]
    [InlineData("0", "sequence-parallel is 0; it must be at least 1")]
    [InlineData("2", "Start 4 ranks")]
    public void Evaluate_perplexity_ranks_that_make_no_groups_are_refused_once(string parts, string message)
    {
        string[] arguments =
        [
            "evaluate",
            "perplexity",
            "--model",
            Stories,
            "--data",
            "none",
            "--lengths",
            "64",
            "--sequence-parallel",
            parts,
        ];
        var job = Start("mpirun.openmpi", 3, arguments);
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains(message, StringComparison.Ordinal));
    }

    public static TheoryData<string, string[]> Questions =>
        new()
        {
            { "mpirun.openmpi", ["passkey", "--lengths", "256,600", "--trials", "4"] },
            { "mpirun.mpich", ["passkey", "--lengths", "300", "--trials", "2", "--scoring", "likelihood"] },
            { "mpirun.mpich", ["lines", "--lengths", "600", "--trials", "5"] },
            { "mpirun.openmpi", ["topics", "--lengths", "1500", "--trials", "3"] },
            { "mpirun.openmpi", ["ruler", "--tasks", "vt", "fwe", "--lengths", "1300", "--trials", "4"] },
        };

    [Theory]
    [MemberData(nameof(Questions))]
    public void Evaluate_questions_several_ranks_write_the_answers_of_one(string launcher, string[] task)
    {
        MpiJob.Require(launcher);
        string[] arguments = ["evaluate", .. task, "--model", Stories, "--seed", "7", "--device", "cpu"];
        Succeed([.. arguments, "--json", At("one.json")]);
        var job = Start(launcher, 3, [.. arguments, "--json", At("many.json")]);
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        Assert.Equal(File.ReadAllBytes(At("one.json")), File.ReadAllBytes(At("many.json")));
        Assert.Single(job.Output.Split('\n'), l => l.Contains("full attention", StringComparison.Ordinal));
        // To standard output it is whole, too.
        var printed = Start(launcher, 2, [.. arguments, "--json"]);
        Assert.True(printed.Code == ExitCode.Done, printed.ToString());
        Assert.Equal(File.ReadAllText(At("one.json")).Trim(), printed.Output.Trim());
    }

    [Theory]
    [InlineData("passkey")]
    [InlineData("ruler")]
    public void Evaluate_questions_that_do_not_fit_are_refused_once(string task)
    {
        var job = Start("mpirun.openmpi", 3, ["evaluate", task, "--model", Stories, "--lengths", "20", "--trials", "2", "--device", "cpu"]);
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains("A length of 20 tokens is too short", StringComparison.Ordinal));
    }

    [Fact]
    public void Evaluate_a_file_that_cannot_be_written_is_refused_once()
    {
        string[] arguments = ["evaluate", "passkey", "--model", Stories, "--lengths", "256", "--device", "cpu", "--json", Folder];
        var job = Start("mpirun.mpich", 3, arguments);
        Assert.True(job.Code == ExitCode.Usage, job.ToString());
        Assert.Single(job.Error.Split('\n'), l => l.Contains("because it is a folder", StringComparison.Ordinal));
    }
}
