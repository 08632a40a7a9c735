using System.Diagnostics;
using LongLora.Checkpoints;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Cli.Tests;

/// <summary>What a run saves is what it reads: damage is noticed, and nothing is said to be saved that is not.</summary>
public partial class IntegrityTests(FinishedRun finished) : CliRun, IClassFixture<FinishedRun>
{
    private const string Adapter = "adapter/adapter_model.safetensors",
        State = "training_state.safetensors";

    // No process has this number: Linux has at most 2^22, and Windows' are multiples of 4.
    private const int NoProcess = 2_000_000_001;

    private string[] Resume(string output, params string[] more) =>
        [.. TrainTests.MakeArguments(At("train.bin"), At(output), more), "--resume"];

    private static string[] With(string[] arguments, params (string Flag, string Value)[] changes)
    {
        foreach (var (flag, value) in changes)
            arguments[Array.IndexOf(arguments, flag) + 1] = value;
        return arguments;
    }

    private byte[] Copy(string name)
    {
        if (!File.Exists(At("train.bin")))
            WriteTokens("train.bin", 20_000);
        finished.CopyTo(At(name));
        return File.ReadAllBytes(At(name, Adapter));
    }

    private static (string Output, string Error) Continue(params string[] arguments)
    {
        var (code, output, error) = Run(arguments);
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        return (output, error);
    }

    private string Checkpoint(string run, int step, string file = State) => At(run, "checkpoints", $"step-{step:D6}", file);

    private static void Zero(string path, int start, int count)
    {
        var bytes = File.ReadAllBytes(path);
        bytes.AsSpan(start, count).Clear();
        File.WriteAllBytes(path, bytes);
    }

    [Fact]
    public void Resume_on_a_damaged_checkpoint_takes_the_one_before_and_says_so()
    {
        var expected = Copy("run");
        Zero(Checkpoint("run", 6), 100_000, 4096);
        var (_, error) = Continue(Resume("run"));
        Assert.Contains("step-000006' (now 'damaged-step-000006') is damaged", error, StringComparison.Ordinal);
        Assert.Contains("continues from step 4", error, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllBytes(At("run", Adapter)));
        // The damaged one did not push out a whole one.
        Assert.Equal(
            ["damaged-step-000006", "step-000004", "step-000006"],
            Directory.GetDirectories(At("run", "checkpoints")).Select(Path.GetFileName).Order()
        );
        Assert.Equal(Enumerable.Range(1, 6), MetricsLog.Read(At("run")).Select(s => s.Step));
    }

    [Fact]
    public void Resume_with_another_step_in_the_header_takes_the_one_before()
    {
        var expected = Copy("run");
        var bytes = File.ReadAllBytes(Checkpoint("run", 6));
        var at = bytes.AsSpan().IndexOf("\"step\":\"6\""u8);
        bytes[at + 8] = (byte)'5';
        File.WriteAllBytes(Checkpoint("run", 6), bytes);
        Assert.Contains("continues from step 4", Continue(Resume("run")).Error, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllBytes(At("run", Adapter)));

        // Also where an earlier version wrote no checksums.
        Copy("old");
        File.WriteAllBytes(Checkpoint("old", 6), bytes);
        File.Delete(Checkpoint("old", 6, Checksums.FileName));
        Assert.Contains("says that it is of step 5", Continue(Resume("old")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Resume_without_a_whole_checkpoint_exits_3_and_changes_nothing()
    {
        Copy("run");
        foreach (var step in new[] { 4, 6 })
            File.WriteAllBytes(Checkpoint("run", step), File.ReadAllBytes(Checkpoint("run", step))[..^1]);
        Fail(ExitCode.Input, ["no checkpoint", "2 damaged", State, "start again"], Resume("run"));
        Assert.Equal(["step-000004", "step-000006"], Directory.GetDirectories(At("run", "checkpoints")).Select(Path.GetFileName).Order());
        Assert.False(File.Exists(At("run", RunLock.FileName)));
    }

    [Fact]
    public void Resume_of_an_earlier_version_without_checksums_and_base_model_reads_it_and_tells()
    {
        var expected = Copy("run");
        using (var reader = new SafetensorsReader(Checkpoint("run", 4)))
        {
            var metadata = reader.Metadata.Where(m => m.Key != "version").ToDictionary();
            metadata["fingerprint"] = string.Join(
                '\n',
                metadata["fingerprint"].Split('\n').Where(line => !line.StartsWith("base model", StringComparison.Ordinal))
            );
            SafetensorsWriter.Write(At("old"), [.. reader.Tensors.Keys.Select(n => TensorToWrite.Of(n, reader.Open(n).clone()))], metadata);
        }
        File.Move(At("old"), Checkpoint("run", 4), overwrite: true);
        File.Delete(Checkpoint("run", 4, Checksums.FileName));
        Directory.Delete(At("run", "checkpoints", "step-000006"), recursive: true);
        var (_, error) = Continue(Resume("run"));
        Assert.Contains("without checksums", error, StringComparison.Ordinal);
        Assert.Contains("does not say which weights", error, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllBytes(At("run", Adapter)));
    }

    [Fact]
    public void Resume_with_another_version_warns_and_with_other_weights_or_config_is_refused()
    {
        WriteTokens("train.bin", 20_000);
        var model = WriteModel("model");
        string[] Arguments(params string[] more) =>
            [.. TrainTests.MakeArguments(At("train.bin"), At("run"), more).Select(a => a == Stories ? model : a)];
        Succeed(Arguments());
        var adapter = File.ReadAllBytes(At("run", Adapter));

        using (var reader = new SafetensorsReader(Checkpoint("run", 6)))
        {
            var metadata = reader.Metadata.ToDictionary();
            Assert.NotEmpty(metadata["version"]);
            metadata["version"] = "0.0.1";
            SafetensorsWriter.Write(
                At("other"),
                [.. reader.Tensors.Keys.Select(n => TensorToWrite.Of(n, reader.Open(n).clone()))],
                metadata
            );
        }
        File.Move(At("other"), Checkpoint("run", 6), overwrite: true);
        Checksums.Write(Path.GetDirectoryName(Checkpoint("run", 6))!);
        Assert.Contains("saved by version 0.0.1", Continue(Arguments("--resume")).Error, StringComparison.Ordinal);

        WriteModel("model", change: t => t.Name != "model.norm.weight"
                ? t
                : t with
                {
                    Value = () =>
                    {
                        var value = t.Value().clone();
                        value[0] = 0.5f;
                        return value;
                    },
                });
        Fail(ExitCode.Usage, ["Cannot resume", "base model: config and weights"], Arguments("--resume"));
        WriteModel("model", config: c => c.Replace("1e-05", "1e-04", StringComparison.Ordinal));
        Fail(ExitCode.Usage, ["Cannot resume", "base model: config and weights"], Arguments("--resume"));
        Assert.Equal(adapter, File.ReadAllBytes(At("run", Adapter)));
    }

    [Theory]
    [InlineData(Adapter)]
    [InlineData("adapter/" + Checksums.FileName)]
    public void A_damaged_adapter_is_refused_wherever_it_is_used(string file)
    {
        Copy("run");
        var bytes = File.ReadAllBytes(At("run", file));
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(At("run", file), bytes);
        string[] use = ["--model", Stories, "--adapter", At("run", "adapter")];
        Fail(ExitCode.Input, [Checksums.FileName, At("run", "adapter")], ["merge", .. use, "--output", At("merged")]);
        Fail(ExitCode.Input, [Checksums.FileName], ["generate", .. use, "--prompt", "Once"]);
    }

    [Fact]
    public void A_damaged_model_is_refused_and_one_that_was_changed_on_purpose_is_not()
    {
        Succeed("export", "safetensors", "--model", Stories, "--output", At("model"));
        string[] use = ["generate", "--model", At("model"), "--prompt", "Once", "--max-tokens", "1"];
        Succeed(use);
        foreach (var file in new[] { "model.safetensors", "tokenizer.model" })
        {
            var bytes = File.ReadAllBytes(At("model", file));
            File.WriteAllBytes(At("model", file), [.. bytes[..^3], (byte)(bytes[^3] ^ 2), .. bytes[^2..]]);
            Fail(ExitCode.Input, [file, "does not match"], use);
            File.WriteAllBytes(At("model", file), bytes);
        }
        foreach (var file in new[] { "config.json", "tokenizer_config.json" })
        {
            File.AppendAllText(At("model", file), "\n");
            Assert.Contains($"{file}' was edited", Continue(use).Error, StringComparison.Ordinal);
        }
        File.Delete(At("model", Checksums.FileName));
        Assert.DoesNotContain("edited", Continue(use).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_edited_adapter_config_is_told_and_an_edited_base_is_refused_by_a_resume()
    {
        Copy("run");
        var config = At("run", "adapter", "adapter_config.json");
        File.AppendAllText(config, "\n");
        string[] use = ["generate", "--model", Stories, "--adapter", At("run", "adapter"), "--prompt", "Once", "--max-tokens", "1"];
        Assert.Contains($"'{config}' was edited", Continue(use).Error, StringComparison.Ordinal);

        Succeed("export", "safetensors", "--model", Stories, "--output", At("base"));
        var train = With(Resume("second"), ("--model", At("base")));
        Continue(train);
        File.WriteAllText(
            At("base", "config.json"),
            File.ReadAllText(At("base", "config.json")).Replace("1e-05", "1e-04", StringComparison.Ordinal)
        );
        Fail(ExitCode.Usage, ["Cannot resume", "base model: config and weights"], train);
    }

    // A few hundred damages of every kind, in every file of a run: noticed, or without effect on the result.
    [Fact]
    public void No_damage_of_a_checkpoint_is_trained_on()
    {
        Copy("run");
        var (random, expected) = (new Random(11), default(byte[]));
        using (var whole = SavedTrainingState.Open(At("run", "checkpoints", "step-000006")))
            Assert.Equal(6, whole.Step);
        foreach (var file in new[] { State, Checksums.FileName })
        {
            expected = File.ReadAllBytes(Checkpoint("run", 6, file));
            for (var i = 0; i < 150; i++)
            {
                File.WriteAllBytes(Checkpoint("run", 6, file), Damage(expected, random));
                Assert.Throws<CheckpointException>(() => SavedTrainingState.Open(At("run", "checkpoints", "step-000006")).Dispose());
            }
            File.WriteAllBytes(Checkpoint("run", 6, file), expected);
        }
    }

    [Fact]
    public void Resume_on_any_damaged_file_of_a_run_gives_the_same_adapter()
    {
        var expected = Copy("run");
        var random = new Random(5);
        var files = Directory
            .EnumerateFiles(At("run"), "*", SearchOption.AllDirectories)
            .Where(f => !f.Contains("step-000004", StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)
            .Select(f => Path.GetRelativePath(At("run"), f))
            .ToList();
        Assert.True(files.Count >= 9);
        foreach (var file in files)
        {
            var name = "damaged-" + file.Replace('/', '-').Replace('\\', '-');
            finished.CopyTo(At(name));
            File.WriteAllBytes(At(name, file), Damage(File.ReadAllBytes(At(name, file)), random));
            Continue(Resume(name));
            Assert.Equal(expected, File.ReadAllBytes(At(name, Adapter)));
        }
    }

    private static byte[] Damage(byte[] whole, Random random)
    {
        while (true)
        {
            byte[] bytes = [.. whole];
            var at = random.Next(bytes.Length);
            switch (random.Next(3))
            {
                case 0:
                    bytes.AsSpan(at, Math.Min(bytes.Length - at, 1 << random.Next(13))).Clear();
                    break;
                case 1:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                default:
                    return bytes[..at];
            }
            if (!bytes.AsSpan().SequenceEqual(whole))
                return bytes;
        }
    }

    [Fact]
    public void Resume_with_damaged_lines_of_metrics_tells_and_goes_on()
    {
        var expected = Copy("run");
        Directory.Delete(At("run", "checkpoints", "step-000006"), recursive: true);
        var lines = File.ReadAllLines(At("run", "metrics.jsonl"));
        File.WriteAllLines(At("run", "metrics.jsonl"), [lines[0], "null", "", lines[3], .. lines[4..]]);
        Assert.Contains("2 damaged lines", Continue(Resume("run")).Error, StringComparison.Ordinal);
        Assert.Equal(expected, File.ReadAllBytes(At("run", Adapter)));
        Assert.Equal([1, 4, 5, 6], MetricsLog.Read(At("run")).Select(s => s.Step));
    }

    [Fact]
    public void Run_whose_old_checkpoint_cannot_be_deleted_warns_and_goes_on()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() || Environment.IsPrivilegedProcess, "needs a folder that cannot be changed");
        if (OperatingSystem.IsWindows())
            return;
        var expected = Copy("run");
        Directory.Delete(At("run", "checkpoints", "step-000006"), recursive: true);
        var old = At("run", "checkpoints", "step-000002");
        Directory.CreateDirectory(Path.Combine(old, "kept"));
        File.SetUnixFileMode(old, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        try
        {
            Assert.Contains("Cannot delete the old checkpoint", Continue(Resume("run")).Error, StringComparison.Ordinal);
            Assert.Equal(expected, File.ReadAllBytes(At("run", Adapter)));
        }
        finally
        {
            File.SetUnixFileMode(old, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    [Fact]
    public void Run_that_diverges_at_its_first_step_does_not_say_that_anything_was_saved()
    {
        WriteTokens("train.bin", 20_000);
        var model = WriteModel("model", change: t =>
            t.Name != "model.norm.weight" ? t : t with { Value = () => t.Value().mul(Scalars.Of(1e37)) }
        );
        var (code, _, error) = Run([.. TrainTests.MakeArguments(At("train.bin"), At("run")).Select(a => a == Stories ? model : a)]);
        Assert.True(code == ExitCode.Input, $"exit code {code}: {error}");
        Assert.Contains("diverged at step 1", error, StringComparison.Ordinal);
        Assert.Contains("nothing was saved", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("run", "checkpoints")));
    }

    [Theory]
    [InlineData("0", "No earlier state was saved")]
    [InlineData("1", "The newest saved state is that of step 1.")]
    public void Run_whose_weights_are_not_finite_does_not_save_them(string saveEvery, string expected)
    {
        WriteTokens("train.bin", 20_000);
        string[] arguments = [.. TrainTests.MakeArguments(At("train.bin"), At("run")).Select(a => a == "2e-3" ? "1e39" : a)];
        arguments[Array.IndexOf(arguments, "--save-every") + 1] = saveEvery;
        var (code, _, error) = Run(arguments);
        Assert.True(code == ExitCode.Input, $"exit code {code}: {error}");
        Assert.Contains("is not sound and was not saved", error, StringComparison.Ordinal);
        Assert.Contains(expected, error, StringComparison.Ordinal);
        Assert.Equal(saveEvery == "1", Directory.Exists(At("run", "checkpoints", "step-000001")));
        Assert.Equal(
            saveEvery == "1" ? 1 : 0,
            Directory.Exists(At("run", "checkpoints")) ? Directory.GetDirectories(At("run", "checkpoints")).Length : 0
        );
        Assert.False(Directory.Exists(At("run", "adapter")));
    }

    [Theory]
    [InlineData("safetensors", "f16", 1e6)]
    [InlineData("pytorch", "f16", 1e6)]
    [InlineData("gguf", "f16", 1e6)]
    [InlineData("safetensors", "bf16", 3.4e38)]
    [InlineData("gguf", "bf16", 3.4e38)]
    public void Export_of_a_number_that_does_not_fit_is_refused_with_the_name_of_the_tensor(string format, string type, double number)
    {
        var model = WriteModel("model", change: t => t.Name != "model.layers.1.self_attn.q_proj.weight"
                ? t
                : t with
                {
                    Value = () =>
                    {
                        var value = t.Value().to(ScalarType.Float32).clone();
                        value[2, 3] = (float)number;
                        return value;
                    },
                });
        foreach (var file in Directory.GetFiles(Stories, "*token*"))
            File.Copy(file, At("model", Path.GetFileName(file)));
        Fail(
            ExitCode.Input,
            [format == "gguf" && type == "f16" ? "blk.1.attn_q" : "1."],
            "export",
            format,
            "--model",
            model,
            "--output",
            At("out"),
            "--type",
            type
        );
        Assert.False(Path.Exists(At("out")));
    }

    [Theory]
    [InlineData("EIO", "Input/output error")]
    [InlineData("ENOSPC", "No space left")]
    public async Task Fsync_that_fails_ends_the_run_with_the_path(string error, string message)
    {
        Assert.SkipUnless(CanTrace(), "needs strace");
        WriteTokens("train.bin", 20_000);
        string[] arguments =
        [
            "-f",
            "-o",
            At("trace"),
            "-e",
            "trace=fsync",
            "-e",
            $"inject=fsync:error={error}:when=3+",
            "dotnet",
            "exec",
            "--runtimeconfig",
            Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.Tests.runtimeconfig.json"),
            "--depsfile",
            Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.Tests.deps.json"),
            typeof(CliApplication).Assembly.Location,
            .. TrainTests.MakeArguments(At("train.bin"), At("run")),
        ];
        using var process = Process.Start(
            new ProcessStartInfo("strace", arguments) { RedirectStandardOutput = true, RedirectStandardError = true }
        )!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var told = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == ExitCode.Usage, $"exit code {process.ExitCode}: {told}");
        Assert.Contains($"Cannot write '{At("run")}", told, StringComparison.Ordinal);
        Assert.Contains(message, told, StringComparison.Ordinal);
        Assert.DoesNotContain("Done:", await output, StringComparison.Ordinal);
    }

    private static bool CanTrace()
    {
        try
        {
            using var process = Process.Start(
                new ProcessStartInfo("strace", ["-f", "-e", "trace=fsync", "true"]) { RedirectStandardError = true }
            )!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
