using LongLora.Options;

namespace LongLora.Cli.Tests;

/// <summary>A resume with other options than the first run: which are named, and what is said of steps that were done already.</summary>
public class ResumeOptionsTests : CliRun
{
    // Another value for each option that changes numbers, with what it needs beside it.
    private static readonly Dictionary<string, string[]> s_others = new()
    {
        ["context"] = ["1024"],
        ["attention"] = ["full"],
        ["group-ratio"] = ["0.5"],
        ["group-size"] = ["64"],
        ["tuning"] = ["lora"],
        ["rank"] = ["4"],
        ["alpha"] = ["8"],
        ["target-modules"] = ["q_proj"],
        ["adapter-kind"] = ["dora"],
        ["rslora"] = ["true"],
        ["pissa-iterations"] = ["4", "--adapter-kind", "pissa"],
        ["train-embeddings"] = ["false"],
        ["train-norms"] = ["false"],
        ["rope-scaling"] = ["linear"],
        ["rope-factor"] = ["3"],
        ["short-share"] = ["0.5"],
        ["steps"] = ["4", "--schedule", "cosine"],
        ["batch-size"] = ["2"],
        ["gradient-accumulation"] = ["2"],
        ["learning-rate"] = ["1"],
        ["warmup-steps"] = ["1"],
        ["schedule"] = ["linear"],
        ["weight-decay"] = ["0.1"],
        ["beta1"] = ["0.5"],
        ["beta2"] = ["0.5"],
        ["epsilon"] = ["0.001"],
        ["max-grad-norm"] = ["2"],
        ["skip-spikes"] = ["5"],
        ["reduction"] = ["fast"],
        ["seed"] = ["7"],
        ["shuffle"] = ["false"],
        ["keep-documents-apart"] = ["true"],
        ["quantization"] = ["int8"],
    };

    private readonly string _model;

    public ResumeOptionsTests()
    {
        _model = WriteOneLayer("model");
        WriteTokens("train.bin", 4_000);
        Succeed(Train(_model));
    }

    private string[] Train(string model, params string[] more) =>
        [
            "train",
            "--model",
            model,
            "--data",
            At("train.bin"),
            "--output",
            At("run"),
            .. more.Contains("--context") ? Array.Empty<string>() : ["--context", "512"],
            .. more.Contains("--steps") ? Array.Empty<string>() : ["--steps", "3"],
            .. more.Contains("--gradient-accumulation") ? Array.Empty<string>() : ["--gradient-accumulation", "1"],
            .. more,
        ];

    [Fact]
    public void Each_option_that_changes_numbers_is_named_also_where_it_changes_which_weights_are_trained()
    {
        Assert.Equal(
            FineTuneOptionTable.All.Where(o => o.Effect.HasFlag(OptionEffect.Numbers)).Select(o => o.Name).Order(),
            s_others.Keys.Order()
        );
        foreach (var (name, value) in s_others)
            Fail(ExitCode.Usage, ["started with other options", $"{name}: {value[0]}"], Train(_model, ["--resume", $"--{name}", .. value]));
        Fail(ExitCode.Usage, ["rank: 4; ", "learning-rate: 1"], Train(_model, "--resume", "--rank", "4", "--learning-rate", "1"));
        // Of two layers instead of one, so that it trains other weights.
        Fail(ExitCode.Usage, ["base model: "], Train(Stories, "--resume"));
    }

    [Fact]
    public void Fewer_steps_than_were_done_leave_the_result_of_the_last_one_and_say_so()
    {
        var result = File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors"));
        var shown = Succeed(Train(_model, "--resume", "--steps", "2"));
        Assert.Contains("all 3 steps were already done", shown, StringComparison.Ordinal);
        Assert.Contains("steps is 2, but the run had already done 3. The result is that of step 3", shown, StringComparison.Ordinal);
        Assert.Equal(result, File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")));
        Assert.DoesNotContain("steps is", Succeed(Train(_model, "--resume")), StringComparison.Ordinal);
    }
}
