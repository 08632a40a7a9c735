using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Reports;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate ruler</c>: RULER's synthetic tasks.</summary>
internal static class EvaluateRuler
{
    internal static Verb Create(CliContext context)
    {
        var source = new ModelArguments(withPositions: true, withCompute: true);
        var lengths = new LengthsOption("total lengths of document, question and space for the answer in tokens, separated by commas");
        var tasks = new Option<string[]>("--tasks")
        {
            Description = $"tasks [default: all of {string.Join(", ", RulerTask.CreateAll().Select(t => t.Name))}]",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [],
        };
        var haystack = new Option<string[]>("--haystack")
        {
            Description = "files and folders with the text that hides the needles in the essay tasks [default: generated sentences]",
            HelpName = "PATH",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [],
        };
        var trials = new Option<int>("--trials")
        {
            Description = "number of questions per task and length [default: 10]",
            HelpName = "N",
            DefaultValueFactory = _ => 10,
        };
        var seed = new SeedOption("seed for the first document");
        var scoring = EvaluateRetrieval.CreateScoringOption();
        var json = new JsonOption();
        var picture = new PictureOption("accuracy by length and task");
        var command = new Verb(
            "ruler",
            "Run RULER's synthetic tasks: needles, variable tracking, common and frequent words.",
            "longlora evaluate ruler --model merged --lengths 4096 --haystack book.txt"
        )
        {
            TakesRanks = true,
        };
        Option[] options = [lengths, tasks, haystack, trials, seed, scoring, json, picture];
        foreach (var option in options)
            command.Options.Add(option);
        source.AddTo(command);
        command.SetAction(parsed =>
            context.Job.Run(
                () => lengths.Read(parsed),
                _ => null,
                (asked, ranks) =>
                {
                    EvaluationOutput.Require(ranks, json.ReadFile(parsed), parsed.GetValue(picture));
                    var way = parsed.GetValue(scoring);
                    IReadOnlyList<string>? book = null;
                    ranks.OnAll("reading the haystack", () => book = ReadBook(parsed.GetValue(haystack)!, context.Cancellation));
                    var chosen = Choose(parsed.GetValue(tasks)!, way, book);
                    using var loaded = source.Load(parsed, context, ranks);
                    var (model, tokenizer) = (loaded.Network, loaded.Tokenizer);
                    _ = tokenizer ?? throw EvaluateRetrieval.CreateNoTokenizerError(source.ReadNames(parsed).Model);
                    var pairs = chosen.SelectMany(task => asked.Select(length => (Task: task, Length: length))).ToList();
                    var results = EvaluateRetrieval.Measure(
                        context,
                        [.. pairs.Select(p => ($"{p.Task.Name} {p.Length:N0} tokens", parsed.GetValue(trials)))],
                        (i, progress) =>
                            RetrievalEvaluation.Run(
                                model,
                                tokenizer,
                                pairs[i].Task,
                                pairs[i].Length,
                                parsed.GetValue(trials),
                                parsed.GetValue(seed),
                                way,
                                progress,
                                loaded.EndTokens,
                                ranks,
                                context.Cancellation
                            )
                    );
                    if (!ranks.IsRoot())
                        return ExitCode.Done;
                    var byTask = chosen
                        .Select(
                            (task, i) =>
                                (task.Name, Results: (IReadOnlyList<RetrievalAtLength>)results.GetRange(i * asked.Count, asked.Count))
                        )
                        .ToList();
                    Show(context, byTask, asked, way);
                    EvaluationOutput.NoteContext(context, model, asked);
                    json.Write(parsed, context, () => new RulerFile
                        {
                            Model = source.ReadNames(parsed).Model,
                            Adapter = source.ReadNames(parsed).Adapter,
                            Compute = loaded.Network.ComputeName,
                            Tasks = [.. byTask.Select(t => new RulerTaskResult(t.Name, way, t.Results))],
                        });
                    if (parsed.GetValue(picture) is { } image)
                        HeatMap.Save(image, byTask, "RULER: share of the answers found");
                    return ExitCode.Done;
                },
                context.Explain
            )
        );
        return command;
    }

    // By likelihood only tasks that ask for one thing, unless tasks are named.
    private static List<RulerTask> Choose(string[] names, RetrievalScoring scoring, IReadOnlyList<string>? book)
    {
        var all = RulerTask.CreateAll(book);
        if (names.FirstOrDefault(n => all.All(t => t.Name != n)) is { } unknown)
        {
            var hint = unknown.Contains(',', StringComparison.Ordinal)
                ? " Put blanks between tasks."
                : NearestName.Hint(unknown, all.Select(t => t.Name));
            throw new ConfigurationException($"There is no task '{unknown}'.{hint}");
        }
        return
        [
            .. all.Where(t =>
                names.Length > 0
                    ? names.Contains(t.Name)
                    : scoring == RetrievalScoring.Generate || t.Make(0, Math.Max(t.SmallestSize, 50)).Candidates.Count > 0
            ),
        ];
    }

    private static IReadOnlyList<string>? ReadBook(string[] paths, CancellationToken cancellation)
    {
        if (paths.Length == 0)
            return null;
        var sentences = RulerNeedleTask.SplitSentences(string.Join(' ', PlainTexts.Read(paths, cancellation)));
        return sentences.Count >= 2
            ? sentences
            : throw new DataException($"{string.Join(", ", paths)} must contain at least two sentences.");
    }

    private static void Show(
        CliContext context,
        List<(string Name, IReadOnlyList<RetrievalAtLength> Results)> tasks,
        IReadOnlyList<int> lengths,
        RetrievalScoring scoring
    )
    {
        var score =
            scoring == RetrievalScoring.Generate
                ? "mean share of the answers found"
                : "share of correct answers more likely than nine others";
        context.Output.WriteLine($"RULER's tasks, {score}, full attention");
        var table = new Table().Border(TableBorder.Simple).AddColumn("task");
        foreach (var length in lengths)
            table.AddColumn(new TableColumn($"{length:N0}").RightAligned());
        foreach (var (name, results) in tasks)
            table.AddRow([name, .. results.Select(r => $"{r.Accuracy:P0}")]);
        if (tasks.Count > 1)
            table.AddRow(["mean", .. lengths.Select((_, i) => $"{tasks.Average(t => t.Results[i].Accuracy):P1}")]);
        context.Console.Write(table);
    }
}
