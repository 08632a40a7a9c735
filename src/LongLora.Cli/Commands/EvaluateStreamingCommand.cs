using System.CommandLine;
using System.Globalization;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate streaming</c>: perplexity along a text of any length.</summary>
internal static class EvaluateStreamingCommand
{
    internal static Verb Create(CliContext context)
    {
        var source = new ModelArguments(withCompute: true);
        var text = new TextArguments();
        var window = new Option<int?>("--window")
        {
            Description = "number of last tokens to keep [default: the rest of the model's context]",
            HelpName = "N",
        };
        var sinks = new Option<string>("--sink-tokens")
        {
            Description =
                "number of first tokens to keep; several numbers, separated by commas, are measured one by one; 0 is a plain window",
            HelpName = "N,N,...",
            DefaultValueFactory = _ => new StreamingOptions().SinkTokens.ToString(CultureInfo.InvariantCulture),
        };
        var full = new Option<bool>("--full") { Description = "also measure with all tokens kept, as without streaming" };
        var stretch = new Option<long?>("--stretch")
        {
            Description = "tokens per row of the table [default: sinks and window together]",
            HelpName = "N",
        };
        var type = new CacheTypeOption();
        var json = new JsonOption();
        var command = new Verb(
            "streaming",
            "Measure perplexity along a very long text with attention sinks and a window.",
            "longlora evaluate streaming --model merged --data book.txt --sink-tokens 4,0"
        )
        {
            text.Data,
            window,
            sinks,
            full,
            stretch,
            text.MaxTokens,
            text.TokenBytes,
            type,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            EvaluationOutput.Require(json.ReadFile(parsed));
            var counts = ParseSinks(parsed.GetValue(sinks)!);
            using var loaded = source.Load(parsed, context);
            var model = loaded.Network;
            using var tokens = text.Read(parsed, loaded, context.Cancellation);
            // Every column keeps the same number of tokens, so a plain window is longer by the sinks that it does not have.
            var most = counts.Max();
            var held = most + new StreamingOptions { SinkTokens = most, Window = parsed.GetValue(window) }.GetWindow(model.Config);
            var rows = parsed.GetValue(stretch) ?? held;
            var columns = counts
                .Select(count => new StreamingResult(
                    count == 0 ? $"window of {held:N0}" : $"{count} sinks + {held - count:N0}",
                    StreamingPerplexity.Evaluate(
                        model,
                        tokens,
                        new StreamingOptions { SinkTokens = count, Window = held - count },
                        rows,
                        parsed.GetValue(type),
                        null,
                        context.Cancellation
                    )
                ))
                .ToList();
            if (parsed.GetValue(full))
                columns.Add(
                    new(
                        "everything",
                        StreamingPerplexity.EvaluateFull(model, tokens, rows, parsed.GetValue(type), null, context.Cancellation)
                    )
                );
            Show(context, columns, tokens);
            json.Write(parsed, context, () => new StreamingFile
                {
                    Model = source.ReadNames(parsed).Model,
                    Adapter = source.ReadNames(parsed).Adapter,
                    Compute = loaded.Network.ComputeName,
                    Results = columns,
                });
            return ExitCode.Done;
        });
        return command;
    }

    private static void Show(CliContext context, List<StreamingResult> columns, TokenStore tokens)
    {
        context.Output.WriteLine($"{tokens.Count:N0} tokens, read once from start to end; perplexity of each part by what is kept");
        var table = new Table().Border(TableBorder.Simple);
        foreach (var name in columns.Select(c => c.Kept).Prepend("tokens"))
            table.AddColumn(new TableColumn(name).RightAligned());
        for (var i = 0; i < columns[0].Stretches.Count; i++)
        {
            var first = columns[0].Stretches[i];
            table.AddRow([
                $"{first.Start:N0} to {first.Start + first.Tokens - 1:N0}",
                .. columns.Select(c => $"{c.Stretches[i].Perplexity:F3}"),
            ]);
        }
        table.AddRow([
            "all",
            .. columns.Select(c => $"{Math.Exp(c.Stretches.Sum(s => s.Loss * s.Tokens) / c.Stretches.Sum(s => s.Tokens)):F3}"),
        ]);
        context.Console.Write(table);
    }

    private static List<int> ParseSinks(string text)
    {
        var counts = text.Split(',', StringSplitOptions.TrimEntries)
            .Select(p => int.TryParse(p, NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : -1)
            .ToList();
        return counts.TrueForAll(c => c >= 0)
            ? counts
            : throw new ConfigurationException(
                $"--sink-tokens is '{text}'; give integers of at least 0, separated by commas, such as 4,0."
            );
    }
}
