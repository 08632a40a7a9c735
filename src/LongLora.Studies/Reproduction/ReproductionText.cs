using System.Globalization;
using System.Text;
using LongLora.Evaluation;
using LongLora.Options;
using LongLora.Runtime;

namespace LongLora.Studies;

/// <summary>Writes the tables of a reproduction as Markdown, with the paper's numbers next to the measured ones.</summary>
internal static class ReproductionText
{
    /// <summary>Writes the tables; runs without a result are left out.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">The options.</param>
    /// <param name="native">The model's original context.</param>
    /// <param name="results">The results.</param>
    public static void Write(string path, ReproductionOptions options, int native, IReadOnlyList<ReproductionFile> results)
    {
        var text = new StringBuilder(
            string.Create(CultureInfo.InvariantCulture, $"# LongLoRA's tables, {native:N0} to {native * options.Factor:N0} tokens\n\n")
        );
        text.Append(
            string.Create(
                CultureInfo.InvariantCulture,
                $"Model {Path.GetFileName(Path.TrimEndingDirectorySeparator(options.Model))}, {options.Steps} steps of "
                    + $"{2 * native * options.Factor:N0} tokens per run, learning rate {options.LearningRate:G3}, {options.Trials} pass "
                    + $"keys per length, LongLora {Recipe.Version}. "
            )
        );
        text.Append(
            "Perplexity is on held-out text with full attention; pass key is the share found. Unless a row says otherwise, "
                + "training uses S²-Attn with groups of L/4, LoRA+ of rank 8, and YaRN.\n"
        );
        foreach (var table in ReproductionGrid.ListTables(native, options.Factor))
        {
            var rows = table
                .Rows.Select(r => (r.Label, r.Paper, Result: results.FirstOrDefault(x => x.Name == r.Run)))
                .Where(r => r.Result is not null)
                .ToList();
            if (rows.Count == 0)
                continue;
            text.Append(string.Create(CultureInfo.InvariantCulture, $"\n## {table.Title}\n\nThe paper: {table.Paper}\n\n"));
            var (heads, cells) = ChooseColumns(table.Columns, native, options.Factor, results);
            text.Append(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"| |{string.Concat(heads.Select(h => $" {h} |"))} paper |\n|---|{string.Concat(heads.Select(_ => "---:|"))}---:|\n"
                )
            );
            foreach (var (label, paper, result) in rows)
                text.Append(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"| {label} |{string.Concat(cells(result!).Select(c => $" {c} |"))} {paper} |\n"
                    )
                );
        }
        AtomicFile.WriteText(path, text.ToString());
    }

    private static (IReadOnlyList<string> Heads, Func<ReproductionFile, IEnumerable<string>> Cells) ChooseColumns(
        ReproductionColumns columns,
        int native,
        int factor,
        IReadOnlyList<ReproductionFile> results
    )
    {
        var lengths = Reproduction.ListLengths(native, factor);
        string[] perplexities = [.. lengths.Select(l => string.Create(CultureInfo.InvariantCulture, $"{l:N0}"))],
            passKeys = [.. lengths.Select(l => string.Create(CultureInfo.InvariantCulture, $"key {l:N0}"))];
        static IEnumerable<string> WritePerplexities(ReproductionFile r) =>
            r.Measures.Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Perplexity:F3}"));
        static IEnumerable<string> WritePassKeys(ReproductionFile r) =>
            r.Measures.Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.PassKey:P0}"));
        double? FindShort(string name) => results.FirstOrDefault(r => r.Name == name)?.Measures[0].Perplexity;
        string Compare(ReproductionFile r, double? other) =>
            other is { } value
                ? string.Create(CultureInfo.InvariantCulture, $"{100 * (r.Measures[0].Perplexity / value - 1):+0.00;-0.00} %")
                : "";
        return columns switch
        {
            ReproductionColumns.Lengths => ([.. perplexities, .. passKeys, "trained weights"], r =>
                [.. WritePerplexities(r), .. WritePassKeys(r), string.Create(CultureInfo.InvariantCulture, $"{r.TrainedWeights:N0}")]
            ),
            ReproductionColumns.ShortLoss => (
                [
                    $"{perplexities[0]}",
                    "vs. the original model",
                    "vs. training at that length",
                    $"key {perplexities[0]}",
                    .. perplexities[^1..],
                    .. passKeys[^1..],
                ],
                r =>
                    [
                        .. WritePerplexities(r).Take(1),
                        Compare(r, FindShort("base")),
                        Compare(r, FindShort("native")),
                        .. WritePassKeys(r).Take(1),
                        .. WritePerplexities(r).TakeLast(1),
                        .. WritePassKeys(r).TakeLast(1),
                    ]
            ),
            ReproductionColumns.OwnPattern => ([.. perplexities, $"{perplexities[^1]}, own pattern", .. passKeys], r =>
                [
                    .. WritePerplexities(r),
                    r.OwnPatternPerplexity is { } own ? string.Create(CultureInfo.InvariantCulture, $"{own:F3}") : "the same",
                    .. WritePassKeys(r),
                ]
            ),
            ReproductionColumns.Cost => (["CPU seconds", "GFLOPs per step", "attention GFLOPs", $"perplexity at {perplexities[^1]}"], r =>
                [
                    string.Create(CultureInfo.InvariantCulture, $"{r.ProcessorSeconds:N0}"),
                    string.Create(CultureInfo.InvariantCulture, $"{r.StepFlops / 1e9:N0}"),
                    string.Create(CultureInfo.InvariantCulture, $"{r.AttentionFlops / 1e9:N0}"),
                    .. WritePerplexities(r).TakeLast(1),
                ]
            ),
            _ => throw new ArgumentOutOfRangeException(nameof(columns), columns, null),
        };
    }
}
