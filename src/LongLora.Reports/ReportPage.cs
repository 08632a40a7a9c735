using System.Globalization;
using LongLora.Evaluation;
using LongLora.Runs;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>
/// The report of runs as one HTML page: what was trained, loss, perplexity by length and by position, retrieval, short text, memory and
/// speed, recipe. It shows only what was measured.
/// </summary>
public static class ReportPage
{
    private const int DepthBands = 5;
    private static readonly string[] s_alone = ["passkey", "lines", "topics"];

    /// <summary>Writes the page.</summary>
    /// <param name="path">The file.</param>
    /// <param name="runs">The runs; if there are several, the page starts with a comparison.</param>
    public static void Write(string path, IReadOnlyList<ReportRun> runs)
    {
        var page = new HtmlPage(runs.Count == 1 ? $"{runs[0].Title} - LongLora" : $"{runs.Count} runs - LongLora");
        if (runs.Count > 1)
            AddComparison(page, runs);
        foreach (var run in runs)
            AddRun(page, run, runs.Count == 1 ? 1 : 2);
        page.AddParagraph($"LongLora {Options.Recipe.Version}", "note").Write(path);
    }

    private static void AddComparison(HtmlPage page, IReadOnlyList<ReportRun> runs)
    {
        page.AddHeading(1, $"{runs.Count} runs");
        var after = ListColumnsAfter(runs);
        page.Add(
            HtmlPage.WriteTable(
                ["run", .. after.Select(c => c.Head), "steps", "final loss", "tokens/s", "peak memory", "training time"],
                runs.Select(r =>
                    (IReadOnlyList<string>)[r.Name, .. after.Select(c => c.Cell(r)), .. SummarizeTraining(r.Steps).Select(n => n.Value)]
                )
            )
        );
        var figures = new List<(string, string)>
        {
            (
                "Loss",
                SvgChart.Draw(
                    [.. runs.Select((r, i) => MakeSmoothLine(r.Name, r.Steps, i % HtmlPage.Styles))],
                    "optimizer step",
                    isLog: false
                )
            ),
        };
        var perplexity = runs.SelectMany(
                (r, i) =>
                    r.Perplexity.Where(p => p.State == RunReader.After).Select(p => MakeLengthLine(r.Name, p.Results, i % HtmlPage.Styles))
            )
            .ToList();
        if (perplexity.Count > 0)
            figures.Add(("Perplexity by length, after", SvgChart.Draw(perplexity, "tokens", isLog: true, isWide: true)));
        foreach (var task in s_alone)
        {
            var lines = runs.SelectMany(
                    (r, i) =>
                        r
                            .Retrieval.Where(x => x.Task == task && x.State == RunReader.After)
                            .Select(x => MakeScoreLine(r.Name, x, i % HtmlPage.Styles))
                )
                .ToList();
            if (lines.Count > 0)
                figures.Add(($"{WriteTitle(task)} by length, after", SvgChart.Draw(lines, "tokens", isLog: true, (0, 1), WritePercent)));
        }
        page.AddFigures(figures);
    }

    // The results of the runs at the largest length that they have in common.
    private static List<(string Head, Func<ReportRun, string> Cell)> ListColumnsAfter(IReadOnlyList<ReportRun> runs)
    {
        static int? FindGreatest(IEnumerable<IEnumerable<int>> lengths) =>
            lengths.Aggregate((one, other) => one.Intersect(other)).Select(l => (int?)l).Max();
        static IReadOnlyList<PerplexityResult> FindPerplexity(ReportRun run) =>
            run.Perplexity.FirstOrDefault(p => p.State == RunReader.After)?.Results ?? [];
        static IReadOnlyList<ReportRetrievalLength> ListFound(ReportRun run, string task) =>
            run.Retrieval.FirstOrDefault(r => r.Task == task && r.State == RunReader.After)?.Results ?? [];

        var columns = new List<(string, Func<ReportRun, string>)>();
        if (FindGreatest(runs.Select(r => FindPerplexity(r).Select(p => p.Context))) is { } context)
            columns.Add(
                ($"perplexity at {WriteWhole(context)}", r =>
                    WriteNumber(FindPerplexity(r).First(p => p.Context == context).Perplexity, "F2")
                )
            );
        foreach (var task in s_alone)
        {
            if (FindGreatest(runs.Select(r => ListFound(r, task).Select(f => f.Length))) is { } length)
                columns.Add(
                    ($"{NameTask(task)} at {WriteWhole(length)}", r =>
                        WritePercent(ListFound(r, task).First(f => f.Length == length).Score)
                    )
                );
        }
        return columns;
    }

    private static void AddRun(HtmlPage page, ReportRun run, int level)
    {
        page.AddHeading(level, level == 1 ? run.Title : $"{run.Name}: {run.Title}").AddParagraph(run.Summary);
        page.AddNumbers(ListFound(run), "numbers found");
        AddMeasures(page, run);
        var figures = new List<(string, string)>();
        if (run.Perplexity.Count > 0)
            figures.Add(
                (
                    "Perplexity by length",
                    SvgChart.Draw(
                        [.. run.Perplexity.Select((p, i) => MakeLengthLine(p.State, p.Results, ChooseStyle(p.State, i)))],
                        "tokens",
                        isLog: true,
                        isWide: true
                    )
                )
            );
        foreach (var task in run.Retrieval.Where(r => !IsOfSuite(run, r)).GroupBy(r => r.Task).Where(t => t.Any(r => r.Results.Count > 1)))
        {
            figures.Add(
                (
                    $"{WriteTitle(task.Key)} by length",
                    SvgChart.Draw(
                        [.. task.Select((r, i) => MakeScoreLine(r.State, r, ChooseStyle(r.State, i)))],
                        "tokens",
                        isLog: true,
                        (0, 1),
                        WritePercent
                    )
                )
            );
        }
        figures.AddRange(DrawHeatMaps(run));
        foreach (var (state, results) in run.Streaming)
            figures.Add(($"Perplexity along a text, {state}", DrawStreaming(results)));
        if (run.Perplexity.Any(p => p.Results.Any(r => r.ByPosition.Count > 0)))
            figures.Add(("Loss by position: is distant context used?", DrawPositions(run)));
        if (run.Steps.Count > 1)
            figures.Add(
                (
                    "Training loss",
                    SvgChart.Draw(
                        [
                            new("each step", [.. run.Steps.Select(s => ((double)s.Step, s.Loss))], 1, IsFaint: true),
                            MakeSmoothLine("smoothed", run.Steps, 1),
                        ],
                        "optimizer step",
                        isLog: false
                    )
                )
            );
        page.AddFigures(figures);
        page.AddNumbers(SummarizeTraining(run.Steps));
        if (run.Answers.Count > 0)
            page.AddHeading(3, "Answers")
                .Add(
                    HtmlPage.WriteTable(
                        ["model", "loss", "perplexity", "tokens", "answers", "word for word"],
                        run.Answers.Select(WriteAnswers)
                    )
                );
        if (run.ShortText.Count > 0)
            page.AddHeading(3, "Short text")
                .Add(HtmlPage.WriteTable(["measure", "tokens", "before", "after", "change"], run.ShortText.Select(WriteShortRow)));
        foreach (var note in run.Notes)
            page.AddParagraph(note, "note");
        AddRecipe(page, run);
    }

    // A few key numbers: before and after at the largest common length.
    private static List<(string Name, string Value)> ListFound(ReportRun run)
    {
        var found = new List<(string, string)>();
        foreach (var task in run.Retrieval.GroupBy(r => r.Task).Where(t => s_alone.Contains(t.Key)))
        {
            if (
                FindPair(
                    task.FirstOrDefault(r => r.State == RunReader.Before)?.Results,
                    task.FirstOrDefault(r => r.State == RunReader.After)?.Results,
                    r => r.Length
                ) is
                { } pair
            )
                found.Add(
                    (
                        $"{NameTask(task.Key)} at {WriteWhole(pair.Before.Length)} tokens",
                        $"{WritePercent(pair.Before.Score)} → {WritePercent(pair.After.Score)}"
                    )
                );
        }
        IReadOnlyList<PerplexityResult>? before = run.Perplexity.FirstOrDefault(p => p.State == RunReader.Before)?.Results,
            after = run.Perplexity.FirstOrDefault(p => p.State == RunReader.After)?.Results;
        foreach (
            var (old, now) in new[] { FindPair(before, after, r => r.Context), FindPair(before, after, r => -r.Context) }
                .OfType<(PerplexityResult, PerplexityResult)>()
                .Distinct()
        )
            found.Add(
                (
                    $"perplexity at {WriteWhole(old.Context)} tokens",
                    $"{WriteNumber(old.Perplexity, "F2")} → {WriteNumber(now.Perplexity, "F2")}"
                )
            );
        return found;
    }

    private static (T Before, T After)? FindPair<T>(IReadOnlyList<T>? before, IReadOnlyList<T>? after, Func<T, int> length)
        where T : class =>
        (before ?? [])
            .OrderByDescending(length)
            .Select(b => (b, (after ?? []).FirstOrDefault(a => length(a) == length(b))))
            .FirstOrDefault(p => p.Item2 is not null)
            is ({ } one, { } other)
            ? (one, other)
            : null;

    private static string WriteWhole(int number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static void AddMeasures(HtmlPage page, ReportRun run)
    {
        var lengths = run
            .Perplexity.SelectMany(p => p.Results.Select(r => r.Context))
            .Concat(run.Retrieval.SelectMany(r => r.Results.Select(x => x.Length)))
            .Distinct()
            .Order()
            .ToList();
        if (lengths.Count == 0)
            return;
        List<(string Head, Func<int, string> Cell)> columns =
        [
            .. run.Perplexity.Select(p =>
                (
                    $"perplexity {p.State}",
                    (Func<int, string>)(length => WriteNumber(p.Results.FirstOrDefault(r => r.Context == length)?.Perplexity, "F2"))
                )
            ),
            .. run
                .Retrieval.Where(r => !IsOfSuite(run, r))
                .Select(r =>
                    (
                        $"{NameTask(r.Task)} {r.State}",
                        (Func<int, string>)(length => WriteNumber(r.Results.FirstOrDefault(x => x.Length == length)?.Score, "P0"))
                    )
                ),
        ];
        page.Add(
            HtmlPage.WriteTable(
                ["tokens", .. columns.Select(c => c.Head)],
                lengths.Select(length =>
                    (IReadOnlyList<string>)[length.ToString("N0", CultureInfo.InvariantCulture), .. columns.Select(c => c.Cell(length))]
                )
            )
        );
    }

    // The tasks of a suite are shown together, as a map.
    private static bool IsOfSuite(ReportRun run, ReportRetrieval task) =>
        !s_alone.Contains(task.Task) && run.Retrieval.Count(r => r.State == task.State && !s_alone.Contains(r.Task)) > 3;

    // Length against depth for a single task, length against task for a suite.
    private static IEnumerable<(string, string)> DrawHeatMaps(ReportRun run)
    {
        foreach (var suite in run.Retrieval.Where(r => IsOfSuite(run, r)).GroupBy(r => r.State))
        {
            var lengths = suite.SelectMany(t => t.Results.Select(r => r.Length)).Distinct().Order().ToList();
            yield return (
                $"Retrieval by task, {suite.Key}",
                HtmlPage.WriteHeat(
                    [.. lengths.Select(l => l.ToString("N0", CultureInfo.InvariantCulture))],
                    [
                        .. suite.Select(t =>
                            (
                                NameTask(t.Task),
                                (IReadOnlyList<double?>)[.. lengths.Select(l => t.Results.FirstOrDefault(r => r.Length == l)?.Score)]
                            )
                        ),
                    ]
                )
            );
        }
        foreach (
            var one in run.Retrieval.Where(r =>
                !IsOfSuite(run, r) && r.Results.Any(x => x.Trials.Select(t => t.Depth).Distinct().Count() > 1)
            )
        )
        {
            yield return (
                $"{WriteTitle(one.Task)} by depth, {one.State}",
                HtmlPage.WriteHeat(
                    [.. one.Results.Select(r => r.Length.ToString("N0", CultureInfo.InvariantCulture))],
                    [
                        .. Enumerable
                            .Range(0, DepthBands)
                            .Select(band =>
                                (
                                    $"{100 * band / DepthBands} to {100 * (band + 1) / DepthBands} %",
                                    (IReadOnlyList<double?>)[.. one.Results.Select(r => AverageInBand(r, band))]
                                )
                            ),
                    ]
                )
            );
        }
    }

    private static double? AverageInBand(ReportRetrievalLength result, int band)
    {
        var scores = result.Trials.Where(t => Math.Min(DepthBands - 1, (int)(t.Depth * DepthBands)) == band).Select(t => t.Score).ToList();
        return scores.Count > 0 ? scores.Average() : null;
    }

    private static string DrawPositions(ReportRun run) =>
        SvgChart.Draw(
            [
                .. run
                    .Perplexity.Where(p => p.Results.Any(r => r.ByPosition.Count > 0))
                    .Select(
                        (p, i) =>
                            (p.State, p.Results.Where(r => r.ByPosition.Count > 0).MaxBy(r => r.Context)!, Style: ChooseStyle(p.State, i))
                    )
                    .Select(p => new ChartLine(
                        $"{p.State}, window of {p.Item2.Context.ToString("N0", CultureInfo.InvariantCulture)}",
                        [.. p.Item2.ByPosition.Select(b => ((double)b.From, b.Loss))],
                        p.Style
                    )),
            ],
            "preceding tokens, from",
            isLog: true
        );

    private static string DrawStreaming(IReadOnlyList<StreamingResult> results) =>
        SvgChart.Draw(
            [
                .. results.Select(
                    (r, i) =>
                        new ChartLine(
                            r.Kept,
                            [.. r.Stretches.Select(s => ((double)(s.Start + s.Tokens), s.Perplexity))],
                            i % HtmlPage.Styles
                        )
                ),
            ],
            "tokens",
            isLog: false
        );

    private static IReadOnlyList<string> WriteAnswers(ReportAnswers answers) =>
        [
            answers.State,
            WriteNumber(answers.Result.Loss, "F3"),
            WriteNumber(answers.Result.Perplexity, "F2"),
            answers.Result.Tokens.ToString("N0", CultureInfo.InvariantCulture),
            WriteWhole(answers.Result.Examples),
            WriteWhole(answers.Result.Exact),
        ];

    private static void AddRecipe(HtmlPage page, ReportRun run)
    {
        if (run.Facts.Count > 0)
        {
            var facts = HtmlPage.WriteTable([], run.Facts.Select(f => (IReadOnlyList<string>)[f.Name, f.Value]), "options");
            page.Add($"<details><summary>What was trained</summary>{facts}</details>");
        }
        if (run.Recipe.Length > 0)
            page.Add($"<details><summary>The full recipe</summary><pre>{HtmlPage.Encode(run.Recipe.TrimEnd())}</pre></details>");
    }

    private static IReadOnlyList<(string Name, string Value)> SummarizeTraining(IReadOnlyList<TrainingStep> steps)
    {
        if (steps.Count == 0)
            return [];
        // The clock of a resumed run starts again, but tokens and rate of each step are always right.
        long before = 0;
        var seconds = 0.0;
        foreach (var step in steps)
            (seconds, before) = (seconds + (step.Tokens - before) / step.TokensPerSecond, step.Tokens);
        var rates = steps.Select(s => s.TokensPerSecond).Order().ToList();
        return
        [
            ("optimizer steps", steps[^1].Step.ToString("N0", CultureInfo.InvariantCulture)),
            ("final loss, smoothed", Smooth(steps)[^1].ToString("F3", CultureInfo.InvariantCulture)),
            ("tokens per second, median", rates[rates.Count / 2].ToString("N0", CultureInfo.InvariantCulture)),
            ("peak memory", TrainingPlan.FormatSize(steps.Max(s => s.PeakMemoryBytes))),
            ("training time", WriteDuration(seconds)),
        ];
    }

    private static string WriteDuration(double seconds) =>
        seconds < 90 ? string.Create(CultureInfo.InvariantCulture, $"{seconds:F0} s")
        : seconds < 5400 ? string.Create(CultureInfo.InvariantCulture, $"{seconds / 60:F1} min")
        : string.Create(CultureInfo.InvariantCulture, $"{seconds / 3600:F1} h");

    private static IReadOnlyList<string> WriteShortRow(ShortTextChange c) =>
        c.Measure == "passkey"
            ?
            [
                NameTask(c.Measure),
                c.Length.ToString("N0", CultureInfo.InvariantCulture),
                WritePercent(c.Before),
                WritePercent(c.After),
                string.Create(CultureInfo.InvariantCulture, $"{100 * (c.After - c.Before):+0;-0;0} points"),
            ]
            :
            [
                c.Measure,
                c.Length.ToString("N0", CultureInfo.InvariantCulture),
                WriteNumber(c.Before, "F3"),
                WriteNumber(c.After, "F3"),
                string.Create(CultureInfo.InvariantCulture, $"{c.Percent:+0.00;-0.00;0.00} %"),
            ];

    private static ChartLine MakeLengthLine(string name, IReadOnlyList<PerplexityResult> results, int style) =>
        new(name, [.. results.Select(r => ((double)r.Context, r.Perplexity))], style);

    private static ChartLine MakeScoreLine(string name, ReportRetrieval task, int style) =>
        new(name, [.. task.Results.Select(r => ((double)r.Length, r.Score))], style);

    private static ChartLine MakeSmoothLine(string name, IReadOnlyList<TrainingStep> steps, int style)
    {
        var smooth = Smooth(steps);
        return new(name, [.. steps.Select((s, i) => ((double)s.Step, smooth[i]))], style);
    }

    private static double[] Smooth(IReadOnlyList<TrainingStep> steps) => LossPlot.Smooth([.. steps.Select(s => s.Loss)]);

    // "Before" always has the first color, and "after" the second.
    private static int ChooseStyle(string state, int place) =>
        state == RunReader.Before ? 0
        : state == RunReader.After ? 1
        : 2 + place % (HtmlPage.Styles - 2);

    private static string NameTask(string name) => name == "passkey" ? "pass key" : name;

    private static string WriteTitle(string task) => NameTask(task) is var name ? char.ToUpperInvariant(name[0]) + name[1..] : "";

    private static string WritePercent(double value) => value.ToString("P0", CultureInfo.InvariantCulture);

    private static string WriteNumber(double? value, string format) =>
        value is { } number && double.IsFinite(number) ? number.ToString(format, CultureInfo.InvariantCulture) : "";
}
