using System.Globalization;

namespace LongLora.Studies;

/// <summary>All runs and tables: LongLoRA's (arXiv 2309.12307), and one about text of the original length.</summary>
internal static class ReproductionGrid
{
    /// <summary>The runs in the order in which they are done: those that most tables need come first.</summary>
    /// <param name="native">The model's original context.</param>
    /// <param name="factor">The factor by which it grows.</param>
    public static IReadOnlyList<ReproductionRun> ListRuns(int native, int factor)
    {
        string[] SetLength(int times) => [WriteLine("context", native * times), WriteLine("batch-size", factor / times)];
        return
        [
            new("base", null),
            new("lora-plus", []),
            new("native", [.. SetLength(1), "rope-scaling: default", "attention: full"]),
            new("by-length", ["rope-scaling: by-length", "short-share: 0.25"]),
            new("lora", ["tuning: lora"]),
            new("full-tuning", [ReproductionRun.FullTuning]),
            new("full-attention", ["attention: full"]),
            new("grouped", ["attention: grouped"]),
            new("dilated", ["attention: dilated"]),
            new("linear", ["rope-scaling: linear"]),
            new("dynamic", ["rope-scaling: dynamic"]),
            new("untrained-yarn", null, "yarn"),
            new("untrained-linear", null, "linear"),
            new("untrained-dynamic", null, "dynamic"),
            new("yarn-short", ["short-share: 0.25"]),
            new("lora-norms", ["tuning: lora", "train-norms: true"]),
            new("lora-embeddings", ["tuning: lora", "train-embeddings: true"]),
            new("train-half", SetLength(factor / 2)),
            new("group-half", ["group-ratio: 0.5"]),
            new("group-eighth", ["group-ratio: 0.125"]),
            new("by-length-half", ["rope-scaling: by-length", "short-share: 0.5"]),
            new("dynamic-short", ["rope-scaling: dynamic", "short-share: 0.25"]),
            new("lora-64", ["tuning: lora", "rank: 64", "alpha: 128"]),
            new("lora-1", ["tuning: lora", "rank: 1", "alpha: 2"]),
            new("by-length-long", ["rope-scaling: by-length"]),
            .. factor > 4 ? new ReproductionRun[] { new("train-quarter", SetLength(factor / 4)) } : [], // else as native
            new("group-sixth", ["group-ratio: 0.16667"]),
        ];
    }

    /// <summary>The tables.</summary>
    /// <param name="native">The model's original context.</param>
    /// <param name="factor">The factor by which it grows.</param>
    public static IReadOnlyList<ReproductionTable> ListTables(int native, int factor) =>
        [
            new(
                "Training length",
                ReproductionColumns.Lengths,
                [
                    ("not trained", "base", ""),
                    ("not trained, positions interpolated", "untrained-linear", ""),
                    ("not trained, YaRN", "untrained-yarn", ""),
                    (WriteLength(native), "native", ""),
                    (WriteLength(native * factor / 4), "train-quarter", ""),
                    (WriteLength(native * factor / 2), "train-half", ""),
                    (WriteLength(native * factor), "lora-plus", ""),
                ],
                "PG19, 7B, perplexity at 2k, 4k, 8k, 16k, 32k. Trained at 8k: 7.70, 7.35, 7.14; at 16k: 7.65, 7.28, 7.02, 6.86; at 32k: "
                    + "8.29, 7.83, 7.54, 7.35, 7.22 (table 3)."
            ),
            new(
                "What is trained",
                ReproductionColumns.Lengths,
                [
                    ("LoRA, r 1", "lora-1", ""),
                    ("LoRA, r 8", "lora", "11.44"),
                    ("LoRA, r 64", "lora-64", "11.98 (r 256)"),
                    ("LoRA + norms", "lora-norms", "10.49"),
                    ("LoRA + embeddings", "lora-embeddings", "8.29"),
                    ("LoRA + both (LoRA+)", "lora-plus", "8.12"),
                    ("full fine-tuning", "full-tuning", "8.08"),
                ],
                "7B at 32k, PG19 validation (table 2)."
            ),
            new(
                "Attention during training",
                ReproductionColumns.OwnPattern,
                [
                    ("full", "full-attention", "8.02"),
                    ("S² (groups, half of the heads shifted)", "lora-plus", "8.04"),
                    ("groups without the shift", "grouped", ""),
                    ("groups, half of the heads dilated by 2", "dilated", "9.70 (own pattern)"),
                ],
                "7B at 8k, full fine-tuning, tested with full attention: S² and full within 0.05. Tested with its own pattern at 32k S² "
                    + "has 8.64 instead of 8.12 (section 4.3, table 6)."
            ),
            new(
                "Group size",
                ReproductionColumns.Lengths,
                [
                    ("L (full attention)", "full-attention", "8.02"),
                    ("L/2", "group-half", "8.04"),
                    ("L/4", "lora-plus", "8.04"),
                    ("L/6", "group-sixth", "8.10"),
                    ("L/8", "group-eighth", "8.16"),
                ],
                "7B at 8k, PG19 validation (table 7)."
            ),
            new(
                "Cost of training",
                ReproductionColumns.Cost,
                [
                    ("full", "full-attention", "92.5 h"),
                    ("S², L/2", "group-half", ""),
                    ("S², L/4", "lora-plus", "52.4 h"),
                    ("S², L/8", "group-eighth", ""),
                    ("full fine-tuning, S²", "full-tuning", "out of memory"),
                ],
                "7B, 1000 steps at 65,536 tokens, eight A100, FlashAttention-2 (table 5): LoRA with full attention and LongLoRA."
            ),
            new(
                "Perplexity on short text",
                ReproductionColumns.ShortLoss,
                [
                    ("not trained", "base", ""),
                    ("not trained, linear", "untrained-linear", ""),
                    ("not trained, dynamic NTK", "untrained-dynamic", ""),
                    ("not trained, YaRN", "untrained-yarn", ""),
                    ("trained at the original length (the baseline)", "native", ""),
                    ("linear interpolation", "linear", "+9.8 %"),
                    ("dynamic NTK", "dynamic", ""),
                    ("dynamic NTK, a quarter short windows", "dynamic-short", ""),
                    ("YaRN", "lora-plus", ""),
                    ("YaRN, a quarter short windows", "yarn-short", ""),
                    ("by length, no short windows", "by-length-long", ""),
                    ("by length, a quarter short windows (mixed windows)", "by-length", ""),
                    ("by length, half short windows", "by-length-half", ""),
                ],
                "7B at 2k: 7.55 after full fine-tuning for 8k, 8.29 after LongLoRA for 32k (table 3). Positions by length with short "
                    + "windows in training are LongRoPE2's mixed windows (arXiv 2502.20082), which keeps 98.6 % of short-text quality."
            ),
        ];

    private static string WriteLength(int tokens) => string.Create(CultureInfo.InvariantCulture, $"{tokens:N0} tokens");

    private static string WriteLine(string key, double value) => string.Create(CultureInfo.InvariantCulture, $"{key}: {value}");
}
