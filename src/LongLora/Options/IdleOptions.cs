using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>Options that were set but change nothing beside the others. They are refused, because who sets one expects an effect.</summary>
internal static class IdleOptions
{
    private static readonly Rule[] s_rules =
    [
        new(
            o => o.Method.Tuning == TuningMethod.Full,
            ["rank", "alpha", "target-modules", "adapter-kind", "rslora", "pissa-iterations", "train-embeddings", "train-norms"],
            "it applies only to LoRA, and tuning is full, which trains every weight. Remove it, or set tuning to lora-plus or lora"
        ),
        new(
            o => o.Method.Attention == AttentionKind.Full,
            ["group-ratio", "group-size"],
            "attention is full and has no groups. Remove it, or set attention to shifted-sparse"
        ),
        new(
            o => o.Model.RopeScaling == "default",
            ["rope-factor"],
            "rope-scaling is default, which does not rescale positions. Remove it, or set rope-scaling to linear or another kind"
        ),
        new(
            o => o.Data.Task == TrainingTask.Text,
            NamesFor(OptionEffect.AnswerTokens),
            "it applies only to conversations, and task is text. Remove it, or set task to sft"
        ),
        new(
            o => o.Data.Task == TrainingTask.Sft,
            NamesFor(OptionEffect.TextTokens),
            "it applies only to plain text, and task is sft. Remove it, or set task to text"
        ),
    ];

    /// <summary>Adds a problem for each option that has no effect and another value than its default.</summary>
    internal static void Check(OptionProblems problems, FineTuneOptions options)
    {
        foreach (var rule in s_rules.Where(r => r.Holds(options)))
        {
            foreach (var option in rule.Names.Select(FineTuneOptionTable.Find))
                problems.Require(
                    option.Format(options) == option.Format(FineTuneOptionTable.Defaults),
                    $"{option.Name} is {option.Format(options)}, but {rule.Reason}"
                );
        }
    }

    // Those that change the tokens of one kind of data, and nothing else.
    private static string[] NamesFor(OptionEffect effect) =>
        [.. FineTuneOptionTable.All.Where(o => o.Effect == effect).Select(o => o.Name)];

    private sealed record Rule(Func<FineTuneOptions, bool> Holds, string[] Names, string Reason);
}
