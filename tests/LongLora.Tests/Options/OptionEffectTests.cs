using LongLora.Options;
using LongLora.Runs;
using LongLora.Training;

namespace LongLora.Tests.Options;

/// <summary>What each option changes, and the texts that are made from that: they stand in files of earlier runs.</summary>
public class OptionEffectTests
{
    [Fact]
    public void Effect_of_every_option_is_the_one_that_was_decided()
    {
        var expected = new Dictionary<OptionEffect, string[]>
        {
            [OptionEffect.None] =
            [
                "model",
                "from-scratch",
                "tokenizer",
                "data",
                "output",
                "resume",
                "token-cache",
                "save-every",
                "keep-checkpoints",
                "device",
                "compute",
                "blocks-per-segment",
                "activation-offload",
                "activation-memory",
                "sequence-parallel",
                "shard",
                "rank-timeout",
                "check-memory",
            ],
            [OptionEffect.Tokens] = ["task"],
            [OptionEffect.AnswerTokens] = ["template", "template-options", "columns", "keep-reasoning", "ignore-fields"],
            [OptionEffect.TextTokens] = ["token-bytes"],
            [OptionEffect.AnswerTokens | OptionEffect.Numbers] = ["context"],
            [OptionEffect.Numbers] =
            [
                "attention",
                "group-ratio",
                "group-size",
                "tuning",
                "rank",
                "alpha",
                "target-modules",
                "adapter-kind",
                "rslora",
                "pissa-iterations",
                "train-embeddings",
                "train-norms",
                "rope-scaling",
                "rope-factor",
                "short-share",
                "steps",
                "batch-size",
                "gradient-accumulation",
                "learning-rate",
                "warmup-steps",
                "schedule",
                "weight-decay",
                "beta1",
                "beta2",
                "epsilon",
                "max-grad-norm",
                "skip-spikes",
                "reduction",
                "seed",
                "shuffle",
                "keep-documents-apart",
                "quantization",
            ],
        };
        Assert.Equal(
            expected.SelectMany(e => e.Value.Select(name => (name, e.Key))).OrderBy(e => e.name, StringComparer.Ordinal),
            FineTuneOptionTable.All.Select(o => (name: o.Name, o.Effect)).OrderBy(e => e.name, StringComparer.Ordinal)
        );
    }

    private static readonly string[] s_beforeSteps =
    [
        "task: text",
        "context: 4096",
        "attention: shifted-sparse",
        "group-ratio: 0.25",
        "group-size: ",
        "tuning: lora-plus",
        "rank: 8",
        "alpha: 16",
        "target-modules: attention",
        "train-embeddings: ",
        "train-norms: ",
        "rope-scaling: auto",
        "rope-factor: ",
        "short-share: 0",
    ];

    private static readonly string[] s_afterSteps =
    [
        "batch-size: 1",
        "gradient-accumulation: 8",
        "learning-rate: 2e-05",
        "warmup-steps: 20",
    ];

    private static readonly string[] s_afterSchedule =
    [
        "weight-decay: 0",
        "beta1: 0.9",
        "beta2: 0.95",
        "epsilon: 1e-08",
        "max-grad-norm: 1",
        "seed: 42",
        "shuffle: true",
        "keep-documents-apart: false",
        "template: auto",
        "columns: ",
        "token-bytes: ",
        "quantization: none",
    ];

    [Fact]
    public void Fingerprint_has_options_that_earlier_runs_did_not_know_where_they_say_something()
    {
        const string recipe = "{model: m, data: [d], context: 4096, output: o, adapter-kind: pissa, pissa-iterations: 4, rslora: true}";
        var options = Recipe.Parse(recipe, "test", FineTuneOptionTable.Defaults);
        string[] expected = ["adapter-kind: pissa", "rslora: true", "pissa-iterations: 4"];
        Assert.Equal(expected, RunDirectory.DescribeOptions(options).Intersect(expected));
    }

    // Written by the first version into every checkpoint: a resume compares it as it is.
    [Fact]
    public void Fingerprint_of_the_options_is_that_of_earlier_runs()
    {
        var options = Recipe.Parse("{model: m, data: [d], context: 4096, output: o}", "test", FineTuneOptionTable.Defaults);
        Assert.Equal(
            [.. s_beforeSteps, .. s_afterSteps, "schedule: constant-with-warmup", .. s_afterSchedule],
            RunDirectory.DescribeOptions(options)
        );
        options = options with { Optimizer = options.Optimizer with { Schedule = ScheduleKind.Linear } };
        Assert.Equal(
            [.. s_beforeSteps, "steps: 1000", .. s_afterSteps, "schedule: linear", .. s_afterSchedule],
            RunDirectory.DescribeOptions(options)
        );
    }

    // The format of GPUs was once among these; now it belongs to the machine. The base was not written down at all.
    [Theory]
    [InlineData("bf16", true)]
    [InlineData("tf32", false)]
    public void Fingerprint_of_an_earlier_run_is_met_whatever_its_format_was(string format, bool knowsBase)
    {
        var options = Recipe.Parse("{model: m, data: [d], context: 4096, output: o}", "test", FineTuneOptionTable.Defaults);
        string[] own = [.. RunDirectory.DescribeOptions(options), "data: tokens of SHA-256 0", "base model: config and weights 0"];
        string[] saved =
        [
            .. s_beforeSteps,
            .. s_afterSteps,
            "schedule: constant-with-warmup",
            .. s_afterSchedule[..^1],
            $"cuda-compute: {format}",
            s_afterSchedule[^1],
            "data: tokens of SHA-256 0",
            .. knowsBase ? ["base model: config and weights 0"] : Array.Empty<string>(),
        ];
        Assert.Equal(string.Join('\n', saved), RunDirectory.AdaptFingerprint(string.Join('\n', own), string.Join('\n', saved)));
        // A checkpoint of this version has no such line.
        Assert.Equal(string.Join('\n', own), RunDirectory.AdaptFingerprint(string.Join('\n', own), string.Join('\n', own)));
    }

    // Runs of earlier versions did not know it, and its default is what they are closest to.
    [Theory]
    [InlineData("", null)]
    [InlineData(", reduction: exact", null)]
    [InlineData(", reduction: fast", "reduction: fast")]
    [InlineData(", tuning: full", null)]
    [InlineData(", tuning: full, reduction: fast", null)]
    [InlineData(", tuning: full, reduction: exact", "reduction: exact")]
    public void Fingerprint_has_the_reduction_where_it_is_not_the_default(string more, string? expected)
    {
        var options = Recipe.Parse($"{{model: m, data: [d], context: 4096, output: o{more}}}", "test", FineTuneOptionTable.Defaults);
        Assert.Equal(
            expected,
            RunDirectory.DescribeOptions(options).SingleOrDefault(l => l.StartsWith("reduction", StringComparison.Ordinal))
        );
    }

    [Fact]
    public void Options_in_the_key_of_cached_tokens_are_those_of_the_task()
    {
        static IEnumerable<string> Keys(OptionEffect tokens) =>
            FineTuneOptionTable.All.Where(o => o.Effect.HasFlag(tokens)).Select(o => o.Name);
        Assert.Equal(["task", "token-bytes"], Keys(OptionEffect.TextTokens));
        Assert.Equal(
            ["task", "context", "template", "template-options", "columns", "keep-reasoning", "ignore-fields"],
            Keys(OptionEffect.AnswerTokens)
        );
    }

    // What longlora plan leaves out.
    [Fact]
    public void Options_of_data_and_run_are_those_that_a_plan_does_not_need() =>
        Assert.Equal(
            [
                "task",
                "data",
                "output",
                "resume",
                "seed",
                "shuffle",
                "keep-documents-apart",
                "template",
                "template-options",
                "columns",
                "keep-reasoning",
                "ignore-fields",
                "token-bytes",
                "token-cache",
                "save-every",
                "keep-checkpoints",
                "rank-timeout",
                "check-memory",
            ],
            FineTuneOptionTable.All.Where(o => o.Part is OptionPart.Data or OptionPart.Run).Select(o => o.Name)
        );
}
