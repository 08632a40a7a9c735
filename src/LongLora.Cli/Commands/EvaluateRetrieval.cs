using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Reports;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate passkey|lines|topics</c>: questions about generated documents.</summary>
internal static class EvaluateRetrieval
{
    /// <param name="context">Output and cancellation.</param>
    /// <param name="task">The task.</param>
    /// <param name="given">How questions from a file are judged; null if the task has no such files.</param>
    /// <param name="description">For the help.</param>
    internal static Verb Create(CliContext context, RetrievalTask task, RetrievalTask? given, string description)
    {
        var source = new ModelArguments(withPositions: true, withCompute: true);
        var lengths = new LengthsOption(
            "total lengths of document, question and answer in tokens, separated by commas",
            isRequired: given is null
        );
        var cases = new Option<string[]>("--cases")
        {
            Description = "files with questions in LongChat's layout, to use instead of generated documents",
            HelpName = "FILE",
            AllowMultipleArgumentsPerToken = true,
            Hidden = given is null,
        };
        var trials = new Option<int?>("--trials") { Description = "number of questions at each length [default: 10]", HelpName = "N" };
        var seed = new SeedOption("seed for the first document");
        var scoring = CreateScoringOption();
        var json = new JsonOption();
        var picture = new PictureOption("accuracy by length and depth");
        var command = new Verb(task.Name, description, $"longlora evaluate {task.Name} --model merged --lengths 4096,8192 --picture p.png")
        {
            TakesRanks = true,
        };
        Option[] options = [lengths, trials, seed, scoring, json, picture];
        foreach (var option in given is null ? options : [lengths, cases, .. options[1..]])
            command.Options.Add(option);
        source.AddTo(command);
        command.SetAction(parsed =>
            context.Job.Run(
                () => ReadAsked(parsed, lengths, given is null ? [] : parsed.GetValue(cases) ?? []),
                _ => null,
                (asked, ranks) =>
                {
                    EvaluationOutput.Require(ranks, json.ReadFile(parsed), parsed.GetValue(picture));
                    var questions = asked.Files.ToDictionary(
                        file => file,
                        file =>
                            (IReadOnlyList<RetrievalCase>)[.. LongChatCases.Read(file, task).Take(parsed.GetValue(trials) ?? int.MaxValue)]
                    );
                    using var loaded = source.Load(parsed, context, ranks);
                    var (model, tokenizer) = (loaded.Network, loaded.Tokenizer);
                    _ = tokenizer ?? throw CreateNoTokenizerError(source.ReadNames(parsed).Model);
                    var count = parsed.GetValue(trials) ?? 10;
                    var way = parsed.GetValue(scoring);
                    var results =
                        asked.Files.Length > 0
                            ? Measure(
                                context,
                                [.. asked.Files.Select(file => (Path.GetFileName(file), questions[file].Count))],
                                (i, progress) =>
                                    RetrievalEvaluation.Ask(
                                        model,
                                        tokenizer,
                                        given!,
                                        questions[asked.Files[i]],
                                        way,
                                        progress,
                                        loaded.EndTokens,
                                        ranks,
                                        context.Cancellation
                                    )
                            )
                            : Measure(
                                context,
                                [.. asked.Lengths.Select(length => ($"{task.Name} {length:N0} tokens", count))],
                                (i, progress) =>
                                    RetrievalEvaluation.Run(
                                        model,
                                        tokenizer,
                                        task,
                                        asked.Lengths[i],
                                        count,
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
                    Show(context, task, results, way, asked.Files);
                    EvaluationOutput.NoteContext(context, model, results.Select(r => r.Length));
                    json.Write(parsed, context, () => new RetrievalFile
                        {
                            Task = task.Name,
                            Model = source.ReadNames(parsed).Model,
                            Adapter = source.ReadNames(parsed).Adapter,
                            Compute = loaded.Network.ComputeName,
                            Scoring = way,
                            Results = results,
                        });
                    if (parsed.GetValue(picture) is { } image)
                        HeatMap.Save(image, results, $"{task.Name}: share of correct answers");
                    return ExitCode.Done;
                },
                context.Explain
            )
        );
        return command;
    }

    // Files with questions, or the lengths of generated documents.
    private static (string[] Files, IReadOnlyList<int> Lengths) ReadAsked(ParseResult parsed, LengthsOption lengths, string[] files) =>
        parsed.GetValue(lengths) is null == (files.Length == 0)
            ? throw new ConfigurationException(
                files.Length == 0
                    ? "Give --lengths to use generated documents, or --cases to use your own questions."
                    : "Cannot use --lengths with --cases because questions of your own have their own length. Remove one of them."
            )
            : (files, files.Length > 0 ? [] : lengths.Read(parsed));

    internal static CheckpointException CreateNoTokenizerError(string model) =>
        new(
            $"The model folder '{model}' has no tokenizer.model or tokenizer.json, but the questions are text. Copy the "
                + "tokenizer's files into the folder."
        );

    /// <summary>Measures several things one after the other, with a progress bar for each in a terminal.</summary>
    /// <param name="context">Where to show the bars.</param>
    /// <param name="asked">Name and number of questions of each thing.</param>
    /// <param name="measure">Receives the index of the thing.</param>
    internal static List<RetrievalAtLength> Measure(
        CliContext context,
        IReadOnlyList<(string Name, int Questions)> asked,
        Func<int, IProgress<RetrievalTrial>?, RetrievalAtLength> measure
    )
    {
        if (!context.ShowsProgress)
            return [.. asked.Select((_, i) => measure(i, null))];
        context.SayStopping = () => { }; // the bar disappears and "Interrupted." follows immediately
        return context
            .Console.Progress()
            .AutoClear(true)
            .Start(display =>
                asked
                    .Select(
                        (a, i) =>
                        {
                            var bar = display.AddTask(Markup.Escape(a.Name), maxValue: a.Questions);
                            var result = measure(i, new Counter(() => bar.Increment(1)));
                            bar.StopTask();
                            return result;
                        }
                    )
                    .ToList()
            );
    }

    internal static Option<RetrievalScoring> CreateScoringOption() =>
        new Option<RetrievalScoring>("--scoring")
        {
            Description =
                "generate: the model writes its answer; likelihood: the correct answer must be more likely than nine others "
                + "[default: generate]",
            HelpName = "generate|likelihood",
            DefaultValueFactory = _ => RetrievalScoring.Generate,
        };

    private static void Show(
        CliContext context,
        RetrievalTask task,
        List<RetrievalAtLength> results,
        RetrievalScoring scoring,
        string[] files
    )
    {
        var way = scoring == RetrievalScoring.Generate ? "generated answers" : "most likely of up to ten answers";
        context.Output.WriteLine($"{task.Name}, {way}, full attention");
        var table = new Table().Border(TableBorder.Simple);
        if (files.Length > 0)
            table.AddColumn("questions from");
        foreach (var name in new[] { files.Length > 0 ? "up to" : "length", "correct", "of", "share" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var (result, i) in results.Select((r, i) => (r, i)))
        {
            string[] cells =
            [
                $"{result.Length:N0}",
                $"{result.Trials.Count(t => t.IsRight)}",
                $"{result.Trials.Count}",
                $"{result.Accuracy:P0}",
            ];
            table.AddRow(files.Length > 0 ? [Markup.Escape(Path.GetFileName(files[i])), .. cells] : cells);
        }
        context.Console.Write(table);
    }

    private sealed class Counter(Action count) : IProgress<RetrievalTrial>
    {
        public void Report(RetrievalTrial value) => count();
    }
}
