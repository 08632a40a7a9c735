using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Reports;
using LongLora.Runtime;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate</c>: one subcommand per measure.</summary>
internal static class EvaluateCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("evaluate", "Measure a model with full attention.")
        {
            CreatePerplexity(context),
            EvaluateShortCommand.Create(context),
            EvaluateStreamingCommand.Create(context),
            EvaluateAnswersCommand.Create(context),
            EvaluateRetrieval.Create(
                context,
                new PasskeyTask(),
                null,
                "Test whether the model finds a number in a long text (LongLoRA's pass key)."
            ),
            EvaluateRetrieval.Create(
                context,
                new LinesTask(),
                new LinesTask { AsPublished = true },
                "Test whether the model finds the value of one line in a long list (LongChat's lines)."
            ),
            EvaluateRetrieval.Create(
                context,
                new TopicsTask(),
                new TopicsTask(),
                "Test whether the model knows the first topic of a long conversation (LongChat's topics)."
            ),
            EvaluateRuler.Create(context),
        };

    private static Verb CreatePerplexity(CliContext context)
    {
        var source = new ModelArguments(withPositions: true, withCompute: true);
        var text = new TextArguments();
        var lengths = new LengthsOption(
            "context lengths in tokens, separated by commas; also --context",
            isRequired: true,
            "--lengths",
            "--context"
        );
        var protocol = new Option<string>("--protocol")
        {
            Description =
                "longlora: mean over windows of the whole token stream, as in the paper; document: each token of each document "
                + "once [default: longlora]",
            HelpName = "longlora|document",
            DefaultValueFactory = _ => "longlora",
        };
        protocol.AcceptOnlyFromAmong("longlora", "document");
        var stride = new Option<int?>("--stride")
        {
            Description = "tokens between the starts of windows [default: 256; for documents a quarter of the context]",
            HelpName = "S",
        };
        var byPosition = new Option<bool>("--by-position")
        {
            Description = "also show the loss by the number of preceding tokens, to see whether distant context is used",
        };
        var parts = new Option<int>("--sequence-parallel")
        {
            Description =
                "ranks among which each window is divided, for windows that are too long for one; the number of processes is a multiple of "
                + "it [default: 1]",
            HelpName = "P",
            DefaultValueFactory = _ => 1,
        };
        var json = new JsonOption("the results, including those by position,");
        var picture = new PictureOption("the loss by position");
        var command = new Verb(
            "perplexity",
            "Measure perplexity on text at several context lengths.",
            "longlora evaluate perplexity --model merged --data books --lengths 4096,32768"
        )
        {
            TakesRanks = true,
        };
        Option[] options = [text.Data, lengths, protocol, stride, text.MaxTokens, text.TokenBytes, byPosition, parts, json, picture];
        foreach (var option in options)
            command.Options.Add(option);
        source.AddTo(command);
        command.SetAction(parsed =>
            context.Job.Run(
                () => lengths.Read(parsed),
                _ => null,
                (contexts, ranks) =>
                {
                    TextRanks.CheckSize(ranks.Size, parsed.GetValue(parts));
                    EvaluationOutput.Require(ranks, json.ReadFile(parsed), parsed.GetValue(picture));
                    using var loaded = source.Load(parsed, context, ranks);
                    var model = loaded.Network;
                    using var tokens = text.Read(parsed, loaded, ranks, context.Cancellation);
                    var kind = parsed.GetValue(protocol) == "document" ? PerplexityProtocol.Document : PerplexityProtocol.LongLora;
                    var results = Measure(context, contexts, (length, progress) =>
                        Perplexity.Evaluate(
                            model,
                            tokens,
                            length,
                            kind,
                            parsed.GetValue(stride),
                            null,
                            ranks,
                            parsed.GetValue(parts),
                            progress,
                            context.Cancellation
                        )
                    );
                    if (!ranks.IsRoot())
                        return ExitCode.Done;
                    Show(context, results, kind, tokens);
                    if (parsed.GetValue(byPosition))
                        ShowPositions(context, results);
                    EvaluationOutput.NoteContext(context, model, contexts);
                    json.Write(parsed, context, () => new PerplexityFile
                        {
                            Model = source.ReadNames(parsed).Model,
                            Adapter = source.ReadNames(parsed).Adapter,
                            Compute = loaded.Network.ComputeName,
                            Results = results,
                        });
                    if (parsed.GetValue(picture) is { } image)
                        PositionPlot.Save(image, results, "Loss by position in the window");
                    return ExitCode.Done;
                },
                context.Explain
            )
        );
        return command;
    }

    private static List<PerplexityResult> Measure(
        CliContext context,
        IReadOnlyList<int> lengths,
        Func<int, IProgress<PerplexityProgress>?, PerplexityResult> measure
    )
    {
        if (!context.ShowsProgress)
            return [.. lengths.Select(length => measure(length, null))];
        context.SayStopping = () => { }; // the bar disappears and "Interrupted." follows immediately
        return context
            .Console.Progress()
            .AutoClear(true)
            .Start(display =>
                lengths
                    .Select(length =>
                    {
                        var task = display.AddTask($"context {length:N0}");
                        var result = measure(length, new Listener(p => task.Value = 100.0 * p.Done / p.Total));
                        task.StopTask();
                        return result;
                    })
                    .ToList()
            );
    }

    private static void Show(CliContext context, List<PerplexityResult> results, PerplexityProtocol protocol, TokenStore tokens)
    {
        context.Output.WriteLine(
            $"{tokens.Count:N0} tokens in {MessageText.Count(tokens.Documents.Count, "document")}, protocol "
                + $"{protocol.ToString().ToLowerInvariant()}, full attention"
        );
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in new[] { "context", "loss", "perplexity", "scored tokens" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var r in results)
            table.AddRow($"{r.Context:N0}", $"{r.Loss:F4}", $"{r.Perplexity:F3}", $"{r.Tokens:N0}");
        context.Console.Write(table);
    }

    private static void ShowPositions(CliContext context, List<PerplexityResult> results)
    {
        context.Output.WriteLine("loss in nats by the number of preceding tokens");
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in results.Select(r => $"context {r.Context:N0}").Prepend("preceding tokens"))
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var from in results.SelectMany(r => r.ByPosition.Select(bin => bin.From)).Distinct().Order())
        {
            var bins = results.ConvertAll(r => r.ByPosition.FirstOrDefault(bin => bin.From == from));
            var to = bins.Max(bin => bin?.To ?? 0);
            table.AddRow([from == to ? $"{from:N0}" : $"{from:N0} to {to:N0}", .. bins.Select(bin => bin is null ? "" : $"{bin.Loss:F4}")]);
        }
        context.Console.Write(table);
    }

    private sealed class Listener(Action<PerplexityProgress> report) : IProgress<PerplexityProgress>
    {
        public void Report(PerplexityProgress value) => report(value);
    }
}
