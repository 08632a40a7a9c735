using System.CommandLine;
using System.Text.Json;
using LongLora.Evaluation;
using LongLora.Reports;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate passkey|lines|topics</c>: questions about generated documents.</summary>
internal static class EvaluateRetrieval
{
    internal static Verb Create(CliContext context, RetrievalTask task, string description)
    {
        var source = new ModelArguments();
        var lengths = new Option<string>("--lengths") { Description = "lengths of document, question and answer in tokens, with commas between", HelpName = "N,N,...", Required = true };
        var trials = new Option<int>("--trials") { Description = "questions at each length", HelpName = "N", DefaultValueFactory = _ => 10 };
        var seed = new Option<int>("--seed") { Description = "seed of the first document", HelpName = "S", DefaultValueFactory = _ => 0 };
        var scoring = ScoringOption();
        var json = new Option<string>("--json") { Description = "also write the results to this file", HelpName = "FILE" };
        var picture = new Option<string>("--picture") { Description = "also draw length against depth to this .png", HelpName = "FILE" };
        var command = new Verb(task.Name, description, $"longlora evaluate {task.Name} --model merged --lengths 4096,8192 --picture p.png") { lengths, trials, seed, scoring, json, picture };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var asked = EvaluateCommand.ParseLengths(parsed.GetValue(lengths)!, "--lengths");
            using var model = source.Load(parsed, out var tokenizer, out var adapter);
            using var owned = adapter;
            if (tokenizer is null)
                throw new CheckpointException("The model folder has no tokenizer.model or tokenizer.json; questions are text.");
            var results = Measure(context, [.. asked.Select(length => (task.Name, length))], parsed.GetValue(trials), (_, length, progress) => RetrievalEvaluation.Run(model, tokenizer, task, length,
                parsed.GetValue(trials), parsed.GetValue(seed), parsed.GetValue(scoring), progress, context.Cancellation));
            Show(context, task, results, parsed.GetValue(scoring));
            if (parsed.GetValue(json) is { } file)
                AtomicFile.WriteText(file, ToJson(task, results, parsed.GetValue(scoring), source.Names(parsed)));
            if (parsed.GetValue(picture) is { } image)
                HeatMap.Save(image, results, $"{task.Name}: share of right answers");
            return ExitCode.Done;
        });
        return command;
    }

    internal static List<RetrievalAtLength> Measure(CliContext context, IReadOnlyList<(string Task, int Length)> asked, int trials,
        Func<string, int, IProgress<RetrievalTrial>?, RetrievalAtLength> measure)
    {
        if (!context.Console.Profile.Out.IsTerminal)
            return [.. asked.Select(a => measure(a.Task, a.Length, null))];
        context.SayStopping = () => { }; // the bar goes away and "Interrupted." follows at once
        return context.Console.Progress().AutoClear(true).Start(display => asked.Select(a =>
        {
            var bar = display.AddTask($"{a.Task} {a.Length:N0} tokens", maxValue: trials);
            var result = measure(a.Task, a.Length, new Counter(() => bar.Increment(1)));
            bar.StopTask();
            return result;
        }).ToList());
    }

    internal static Option<RetrievalScoring> ScoringOption() =>
        new Option<RetrievalScoring>("--scoring") { Description = "generate: the model answers in words; likelihood: the right answer must be likelier than nine others", HelpName = "generate|likelihood", DefaultValueFactory = _ => RetrievalScoring.Generate };

    private static void Show(CliContext context, RetrievalTask task, List<RetrievalAtLength> results, RetrievalScoring scoring)
    {
        context.Output.WriteLine($"{task.Name}, {(scoring == RetrievalScoring.Generate ? "generated answers" : "likeliest of ten answers")}, full attention");
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in new[] { "length", "right", "of", "share" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var result in results)
            table.AddRow($"{result.Length:N0}", $"{result.Trials.Count(t => t.IsRight)}", $"{result.Trials.Count}", $"{result.Accuracy:P0}");
        context.Console.Write(table);
    }

    private static string ToJson(RetrievalTask task, List<RetrievalAtLength> results, RetrievalScoring scoring, (string Model, string? Adapter) names) => JsonSerializer.Serialize(new
    {
        task = task.Name,
        model = names.Model,
        adapter = names.Adapter,
        scoring = scoring.ToString().ToLowerInvariant(),
        results = Results(results),
    }) + "\n";

    internal static IEnumerable<object> Results(IReadOnlyList<RetrievalAtLength> results) => results.Select(r => new
    {
        length = r.Length,
        accuracy = r.Accuracy,
        trials = r.Trials.Select(t => new { seed = t.Seed, depth = t.Depth, tokens = t.PromptTokens, right = t.IsRight, score = t.Score, answered = t.Answered }),
    });

    private sealed class Counter(Action count) : IProgress<RetrievalTrial>
    {
        public void Report(RetrievalTrial value) => count();
    }
}
