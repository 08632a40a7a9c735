using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Evaluation;
using LongLora.Options;
using LongLora.Reports;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate</c>: one subcommand a measure.</summary>
internal static class EvaluateCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("evaluate", "Measure a model, with full attention.")
        {
            CreatePerplexity(context),
            EvaluateShortCommand.Create(context),
            EvaluateStreamingCommand.Create(context),
            EvaluateAnswersCommand.Create(context),
            EvaluateRetrieval.Create(
                context,
                new PasskeyTask(),
                null,
                "Find a number that stands once in a long text (LongLoRA's pass key)."
            ),
            EvaluateRetrieval.Create(
                context,
                new LinesTask(),
                new LinesTask { AsPublished = true },
                "Find the value of one line in a long record (LongChat's lines)."
            ),
            EvaluateRetrieval.Create(
                context,
                new TopicsTask(),
                new TopicsTask(),
                "Tell the first topic of a long conversation (LongChat's topics)."
            ),
            EvaluateRuler.Create(context),
        };

    private static Verb CreatePerplexity(CliContext context)
    {
        var source = new ModelArguments();
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders: .txt, .md, .jsonl with 'text', .pdf, .docx, .html, token .bin",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var lengths = new Option<string>("--lengths", "--context")
        {
            Description = "context lengths in tokens, with commas between; also --context",
            HelpName = "N,N,...",
            Required = true,
        };
        var protocol = new Option<string>("--protocol")
        {
            Description =
                "longlora: mean over windows of the whole stream, as published; document: each token of each document once [default: "
                + "longlora]",
            HelpName = "longlora|document",
            DefaultValueFactory = _ => "longlora",
        };
        protocol.AcceptOnlyFromAmong("longlora", "document");
        var stride = new Option<int?>("--stride")
        {
            Description = "tokens between windows [default: 256; for documents a quarter of the context]",
            HelpName = "S",
        };
        var maxTokens = new Option<long?>("--max-tokens") { Description = "use only the first tokens of the data", HelpName = "T" };
        var byPosition = new Option<bool>("--by-position")
        {
            Description = "also show the loss by the number of tokens before a token: whether far context is used",
        };
        var json = new Option<string>("--json")
        {
            Description = "also write the results, those by position too, to this file",
            HelpName = "FILE",
        };
        var picture = new Option<string>("--picture") { Description = "also draw the loss by position to this .png", HelpName = "FILE" };
        var command = new Verb(
            "perplexity",
            "Perplexity on text at several context lengths.",
            "longlora evaluate perplexity --model merged --data books --lengths 4096,32768"
        )
        {
            data,
            lengths,
            protocol,
            stride,
            maxTokens,
            byPosition,
            json,
            picture,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var contexts = ParseLengths(parsed, lengths);
            EvaluationOutput.Require(parsed.GetValue(json), parsed.GetValue(picture));
            using var loaded = source.Load(parsed);
            var model = loaded.Network;
            using var tokens = TokenStore.Read(
                parsed.GetValue(data)!,
                loaded,
                DocumentFormats.All,
                parsed.GetValue(maxTokens),
                context.Cancellation
            );
            var kind = parsed.GetValue(protocol) == "document" ? PerplexityProtocol.Document : PerplexityProtocol.LongLora;
            var results = Measure(context, contexts, (length, progress) =>
                Perplexity.Evaluate(model, tokens, length, kind, parsed.GetValue(stride), null, progress, context.Cancellation)
            );
            Show(context, results, kind, tokens);
            if (parsed.GetValue(byPosition))
                ShowPositions(context, results);
            EvaluationOutput.NoteContext(context, model, contexts);
            if (parsed.GetValue(json) is { } file)
                AtomicFile.WriteText(file, ToJson(results, source.Names(parsed)));
            if (parsed.GetValue(picture) is { } image)
                PositionPlot.Save(image, results, "Loss by position in the window");
            return ExitCode.Done;
        });
        return command;
    }

    private static List<PerplexityResult> Measure(
        CliContext context,
        IReadOnlyList<int> lengths,
        Func<int, IProgress<PerplexityProgress>?, PerplexityResult> measure
    )
    {
        if (!context.Console.Profile.Out.IsTerminal)
            return [.. lengths.Select(length => measure(length, null))];
        context.SayStopping = () => { }; // the bar goes away and "Interrupted." follows at once
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
            $"{tokens.Count:N0} tokens in {tokens.Documents.Count:N0} document{(tokens.Documents.Count == 1 ? "" : "s")}, protocol "
                + $"{FineTuneOptionTable.Kebab(protocol.ToString()).Replace("long-lora", "longlora", StringComparison.Ordinal)}, full "
                + $"attention"
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
        context.Output.WriteLine("loss in nats by the number of tokens before a token");
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in results.Select(r => $"context {r.Context:N0}").Prepend("tokens before"))
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var from in results.SelectMany(r => r.ByPosition.Select(bin => bin.From)).Distinct().Order())
        {
            var bins = results.ConvertAll(r => r.ByPosition.FirstOrDefault(bin => bin.From == from));
            var to = bins.Max(bin => bin?.To ?? 0);
            table.AddRow([from == to ? $"{from:N0}" : $"{from:N0} to {to:N0}", .. bins.Select(bin => bin is null ? "" : $"{bin.Loss:F4}")]);
        }
        context.Console.Write(table);
    }

    private static string ToJson(List<PerplexityResult> results, (string Model, string? Adapter) names) =>
        JsonSerializer.Serialize(
            new
            {
                task = "perplexity",
                model = names.Model,
                adapter = names.Adapter,
                results = results.Select(r => new
                {
                    context = r.Context,
                    loss = r.Loss,
                    perplexity = r.Perplexity,
                    tokens = r.Tokens,
                    positions = r.ByPosition.Select(bin => new
                    {
                        from = bin.From,
                        to = bin.To,
                        loss = bin.Loss,
                        tokens = bin.Tokens,
                    }),
                }),
            }
        ) + "\n";

    /// <summary>The lengths that an option was given.</summary>
    internal static List<int> ParseLengths(ParseResult parsed, Option<string> option)
    {
        var text = parsed.GetValue(option)!;
        var parts = text.Split(',', StringSplitOptions.TrimEntries);
        var lengths = parts
            .Select(p => int.TryParse(p, NumberStyles.None, CultureInfo.InvariantCulture, out var length) ? length : 0)
            .ToList();
        return lengths.TrueForAll(l => l >= 2)
            ? lengths
            : throw new ConfigurationException(
                $"{parsed.GetResult(option)?.IdentifierToken?.Value ?? option.Name} is '{text}'; give whole numbers of at least 2 with "
                    + $"commas between, such as 512,1024."
            );
    }

    private sealed class Listener(Action<PerplexityProgress> report) : IProgress<PerplexityProgress>
    {
        public void Report(PerplexityProgress value) => report(value);
    }
}
