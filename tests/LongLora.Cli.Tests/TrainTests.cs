using System.Text.Json;
using LongLora.Configs;
using LongLora.Options;
using LongLora.Runs;
using LongLora.Training;

namespace LongLora.Cli.Tests;

public class TrainTests(FinishedRun finished) : CliRun, IClassFixture<FinishedRun>
{
    internal static string[] MakeArguments(string data, string output, params string[] more) =>
        [
            "train",
            "--model",
            Stories,
            "--data",
            data,
            "--context",
            "600",
            "--output",
            output,
            "--steps",
            "6",
            "--gradient-accumulation",
            "2",
            "--learning-rate",
            "2e-3",
            "--warmup-steps",
            "2",
            "--save-every",
            "2",
            .. more,
        ];

    private string[] TrainArguments(string output, params string[] more) => MakeArguments(At("train.bin"), At(output), more);

    [Fact]
    public void Train_evaluate_merge_inspect_agree_with_each_other()
    {
        WriteTokens("train.bin", 20_000);
        WriteTokens("test.bin", 3_000);
        finished.CopyTo(At("run"));
        Assert.Contains("step 6/6", finished.Output, StringComparison.Ordinal);
        foreach (
            var file in new[]
            {
                "recipe.yaml",
                "metrics.jsonl",
                "loss.png",
                "events.out.tfevents.longlora",
                "adapter/adapter_config.json",
                "adapter/adapter_model.safetensors",
                "checkpoints/step-000006/training_state.safetensors",
            }
        )
            Assert.True(File.Exists(At("run", file)), file);
        var losses = MetricsLog.Read(At("run")).Select(s => s.Loss).ToList();
        Assert.Equal(6, losses.Count);
        Assert.True(losses[^1] < losses[0] - 0.5, $"the loss went from {losses[0]} to {losses[^1]}");

        Succeed("merge", "--model", Stories, "--adapter", At("run", "adapter"), "--output", At("merged"));
        var attached = Perplexities("a.json", "--model", Stories, "--adapter", At("run", "adapter"));
        var merged = Perplexities("m.json", "--model", At("merged"));
        var before = Perplexities("b.json", "--model", Stories);
        Assert.Equal([256, 600], attached.Select(p => p.Context));
        for (var i = 0; i < attached.Count; i++)
        {
            Assert.Equal(attached[i].Loss, merged[i].Loss, 1e-5);
            Assert.True(attached[i].Loss < before[i].Loss);
            Assert.Equal(Math.Exp(attached[i].Loss), attached[i].Perplexity, 1e-9);
        }
        var config = ModelConfigReader.ReadFile(At("merged", "config.json"));
        Assert.Equal(
            (600, "yarn", 2.0, 512),
            (config.MaxPositions, config.RopeScaling.Kind, config.RopeScaling.Factor, config.RopeScaling.OriginalMaxPositions!.Value)
        );
        Assert.True(File.Exists(At("merged", "tokenizer.model")));
        Assert.Contains("600 tokens", Succeed("inspect", At("merged")), StringComparison.Ordinal);
        Assert.Contains("rank 8, alpha 16", Succeed("inspect", At("run", "adapter")), StringComparison.Ordinal);
        // The recipe that the run left gives the same run again.
        Succeed("train", "--recipe", At("run", "recipe.yaml"), "--output", At("again"));
        Assert.Equal(
            File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("again", "adapter", "adapter_model.safetensors"))
        );
    }

    private List<(int Context, double Loss, double Perplexity)> Perplexities(string json, params string[] model)
    {
        Succeed([
            "evaluate",
            "perplexity",
            .. model,
            "--data",
            At("test.bin"),
            "--context",
            "256,600",
            "--protocol",
            "document",
            "--json",
            At(json),
        ]);
        using var document = JsonDocument.Parse(File.ReadAllText(At(json)));
        return
        [
            .. document
                .RootElement.GetProperty("results")
                .EnumerateArray()
                .Select(r =>
                {
                    Assert.Equal(2999, r.GetProperty("tokens").GetInt64());
                    return (
                        r.GetProperty("context").GetInt32(),
                        r.GetProperty("loss").GetDouble(),
                        r.GetProperty("perplexity").GetDouble()
                    );
                }),
        ];
    }

    [Theory]
    [InlineData("lora-plus")]
    [InlineData("full")]
    [InlineData("lora", "--rope-scaling", "by-length", "--short-share", "0.4")]
    public void Resume_after_interruption_ends_with_the_same_bits(string tuning, params string[] more)
    {
        WriteTokens("train.bin", 20_000);
        more = ["--tuning", tuning, .. more];
        if (tuning == "lora-plus")
            finished.CopyTo(At("straight"));
        else
            Succeed(TrainArguments("straight", more));

        // Interrupted in the middle of step 4: after the fourth look at the token past step 3.
        using var source = new CancellationTokenSource();
        var options = Recipe.Parse(
            $"output: {At("broken")}",
            "test",
            Recipe.ReadFile(At("straight", "recipe.yaml"), FineTuneOptionTable.Defaults)
        );
        Assert.Throws<OperationCanceledException>(() => FineTune.Run(options, new CancelAfter(source, 3), cancellation: source.Token));
        Assert.False(Directory.Exists(At("broken", "adapter")));
        Assert.Equal(3, MetricsLog.Read(At("broken")).Count);
        var (code, _, error) = Run(TrainArguments("broken", more));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("--resume", error, StringComparison.Ordinal);

        Succeed(TrainArguments("broken", [.. more, "--resume"]));
        var file = tuning == "full" ? "model/model.safetensors" : "adapter/adapter_model.safetensors";
        Assert.Equal(File.ReadAllBytes(At("straight", file)), File.ReadAllBytes(At("broken", file)));
        Assert.Equal(
            MetricsLog.Read(At("straight")).Select(s => (s.Step, s.Loss, s.GradientNorm)),
            MetricsLog.Read(At("broken")).Select(s => (s.Step, s.Loss, s.GradientNorm))
        );
        if (tuning == "full")
            Succeed("inspect", At("broken", "model"));
    }

    [Fact]
    public void Run_tells_its_plan_once_and_before_the_first_step()
    {
        WriteTokens("train.bin", 20_000);
        var told = new List<object>();
        var options = new FineTuneOptions
        {
            Model = new() { Path = Stories, Context = 600 },
            Data = new() { Sources = [At("train.bin")] },
            Optimizer = new() { Steps = 2, GradientAccumulation = 1 },
            Run = new() { Output = At("run"), CheckMemory = false },
        };
        FineTune.Run(options, new Told<TrainingStep>(told.Add), planned: new Told<TrainingPlan>(told.Add));
        Assert.Equal([typeof(TrainingPlan), typeof(TrainingStep), typeof(TrainingStep)], told.Select(t => t.GetType()));
        Assert.True(((TrainingPlan)told[0]).Memory.Peak > 0);
    }

    [Fact]
    public void Train_with_wrong_options_tells_all_of_them_and_begins_nothing()
    {
        var (code, output, error) = Run(TrainArguments("run", "--rank", "0", "--blocks-per-segment", "0", "--keep-checkpoints", "0"));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Equal("", output);
        foreach (var problem in new[] { "rank is 0", "blocks-per-segment is 0", "keep-checkpoints is 0" })
            Assert.Equal(1, error.Split(problem).Length - 1);
        Assert.False(Directory.Exists(At("run")));
    }

    [Fact]
    public void Train_cancelled_exits_130_and_says_how_to_continue()
    {
        WriteTokens("train.bin", 20_000);
        using var source = new CancellationTokenSource();
        source.CancelAfter(TimeSpan.FromMilliseconds(1));
        var (code, _, error) = Run(source.Token, TrainArguments("run").Select(a => a == "6" ? "100000" : a).ToArray());
        Assert.Equal(ExitCode.Interrupted, code);
        Assert.NotEmpty(error);
    }

    [Fact]
    public void Train_that_diverges_says_so_and_keeps_the_last_sound_step()
    {
        WriteTokens("train.bin", 20_000);
        string[] arguments = [.. TrainArguments("run").Select(a => a == "2e-3" ? "1e20" : a)];
        arguments[Array.IndexOf(arguments, "--save-every") + 1] = "0";
        Fail(ExitCode.Input, ["diverged at step", "learning rate", "saved"], arguments);
        var last = MetricsLog.Read(At("run"))[^1].Step;
        Assert.True(last < 6);
        Assert.Equal([$"step-{last:D6}"], Directory.GetDirectories(At("run", "checkpoints")).Select(Path.GetFileName));
        Assert.False(Directory.Exists(At("run", "adapter")));
    }

    [Fact]
    public void Train_wrong_output_or_context_is_told_before_the_data_are_read()
    {
        string[] arguments = ["train", "--model", Stories, "--data", At("absent.txt"), "--steps", "1"];
        File.WriteAllText(At("file"), "");
        Fail(ExitCode.Usage, ["Cannot write"], [.. arguments, "--context", "600", "--output", At("file", "run")]);
        Fail(ExitCode.Usage, ["300", "512"], [.. arguments, "--context", "300", "--output", At("run")]);
    }

    [Fact]
    public void Resume_with_other_options_is_refused()
    {
        WriteTokens("train.bin", 20_000);
        finished.CopyTo(At("run"));
        var recipe = File.ReadAllText(At("run", "recipe.yaml"));
        Fail(
            ExitCode.Usage,
            ["learning-rate: 0.001"],
            TrainArguments("run").Select(a => a == "2e-3" ? "1e-3" : a).Append("--resume").ToArray()
        );
        Assert.Equal(recipe, File.ReadAllText(At("run", "recipe.yaml")));
    }

    [Fact]
    public void Resume_on_other_data_of_the_same_length_is_refused()
    {
        WriteTokens("train.bin", 20_000);
        finished.CopyTo(At("run"));
        var bytes = File.ReadAllBytes(At("train.bin"));
        bytes[10_000] ^= 1;
        File.WriteAllBytes(At("train.bin"), bytes);
        Fail(ExitCode.Usage, ["data: tokens of SHA-256"], [.. TrainArguments("run"), "--resume"]);
    }

    [Fact]
    public void Train_text_without_tokenizer_is_refused_and_tokens_are_not()
    {
        var model = WriteModel("bare");
        WriteTokens("train.bin", 20_000);
        File.WriteAllText(At("text.txt"), "Once upon a time");
        string[] arguments = ["train", "--model", model, "--context", "512", "--steps", "1", "--gradient-accumulation", "1"];
        Fail(ExitCode.Input, ["text.txt", "no tokenizer"], [.. arguments, "--data", At("text.txt"), "--output", At("a")]);
        Succeed([.. arguments, "--data", At("train.bin"), "--output", At("b")]);
    }

    private sealed class Told<T>(Action<T> tell) : IProgress<T>
    {
        public void Report(T value) => tell(value);
    }

    private sealed class CancelAfter(CancellationTokenSource source, int step) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value)
        {
            if (value.Step == step)
                source.Cancel();
        }
    }
}
