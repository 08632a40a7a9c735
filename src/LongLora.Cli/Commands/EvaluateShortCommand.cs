using System.CommandLine;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Evaluation;
using LongLora.Positions;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate short</c>: what an extended model lost on texts of the original length.</summary>
internal static class EvaluateShortCommand
{
    internal static Verb Create(CliContext context)
    {
        var source = new ModelArguments();
        var extended = new Option<string>("--extended")
        {
            Description = "folder of the extended model, where it is no adapter",
            HelpName = "DIR",
        };
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders: .txt, .md, .jsonl with 'text', .pdf, .docx, .html, token .bin",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var maxTokens = new Option<long?>("--max-tokens") { Description = "use only the first tokens of the data", HelpName = "T" };
        var trials = new Option<int>("--trials")
        {
            Description = "pass keys to find; 0 for none [default: 10]",
            HelpName = "N",
            DefaultValueFactory = _ => 10,
        };
        var seed = new Option<int>("--seed")
        {
            Description = "seed of the first pass key [default: 0]",
            HelpName = "S",
            DefaultValueFactory = _ => 0,
        };
        var json = new Option<string>("--json") { Description = "also write the results to this file", HelpName = "FILE" };
        var command = new Verb(
            "short",
            "What a model lost on short text: the same measures before and after it was extended.",
            "longlora evaluate short --model base --adapter run/adapter --data held-out"
        )
        {
            extended,
            data,
            maxTokens,
            trials,
            seed,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var (basePath, adapterPath) = source.Names(parsed);
            if (adapterPath is null == parsed.GetValue(extended) is null)
                throw new ConfigurationException("Give what the model has become: --adapter, or --extended for a whole model.");
            EvaluationOutput.Require(parsed.GetValue(json));
            IReadOnlyList<(string, int, double)> before,
                after;
            int native;
            TokenStore? tokens = null;
            try
            {
                using (var model = source.Open(parsed, basePath))
                {
                    var tokenizer = Tokenization.TokenizerLoader.LoadIfPresent(basePath);
                    native = RopeScaling.GetCurrentContext(model.Config);
                    var separator = tokenizer?.EosTokenId ?? (model.Config.EosTokenIds is [var eos, ..] ? eos : null);
                    tokens = TokenStore.Build(
                        ExampleSources.Open(parsed.GetValue(data)!, tokenizer, model.Config.VocabularySize, DocumentFormats.All),
                        separator,
                        parsed.GetValue(maxTokens),
                        context.Cancellation
                    );
                    before = ShortText.Measure(
                        model,
                        tokens,
                        native,
                        tokenizer,
                        parsed.GetValue(trials),
                        parsed.GetValue(seed),
                        context.Cancellation
                    );
                }
                after = MeasureExtended(
                    context,
                    parsed,
                    source,
                    parsed.GetValue(extended),
                    tokens,
                    native,
                    parsed.GetValue(trials),
                    parsed.GetValue(seed)
                );
            }
            finally
            {
                tokens?.Dispose();
            }
            var changes = ShortText.Compare(before, after);
            Show(context, changes, native);
            if (parsed.GetValue(json) is { } file)
                AtomicFile.WriteText(file, ToJson(changes, native, basePath, adapterPath ?? parsed.GetValue(extended)!));
            return ExitCode.Done;
        });
        return command;
    }

    private static IReadOnlyList<(string, int, double)> MeasureExtended(
        CliContext context,
        ParseResult parsed,
        ModelArguments source,
        string? extended,
        TokenStore tokens,
        int native,
        int trials,
        int seed
    )
    {
        if (extended is not null)
        {
            using var whole = source.Open(parsed, extended);
            return ShortText.Measure(
                whole,
                tokens,
                native,
                Tokenization.TokenizerLoader.LoadIfPresent(extended),
                trials,
                seed,
                context.Cancellation
            );
        }
        using var model = source.Load(parsed, out var tokenizer, out var adapter);
        using var owned = adapter;
        return ShortText.Measure(model, tokens, native, tokenizer, trials, seed, context.Cancellation);
    }

    private static void Show(CliContext context, IReadOnlyList<ShortTextChange> changes, int native)
    {
        context.Output.WriteLine($"texts of up to {native:N0} tokens, the context before; full attention");
        var table = new Table().Border(TableBorder.Simple).AddColumn("measure");
        foreach (var name in new[] { "tokens", "before", "after", "change" })
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (var c in changes)
        {
            var isShare = c.Measure == "passkey";
            table.AddRow(
                c.Measure,
                $"{c.Length:N0}",
                isShare ? $"{c.Before:P0}" : $"{c.Before:F3}",
                isShare ? $"{c.After:P0}" : $"{c.After:F3}",
                isShare ? $"{100 * (c.After - c.Before):+0;-0;0} points" : $"{c.Percent:+0.00;-0.00;0.00} %"
            );
        }
        context.Console.Write(table);
    }

    private static string ToJson(IReadOnlyList<ShortTextChange> changes, int native, string model, string extended) =>
        JsonSerializer.Serialize(
            new
            {
                task = "short",
                model,
                extended,
                native,
                results = changes.Select(c => new
                {
                    measure = c.Measure,
                    length = c.Length,
                    before = c.Before,
                    after = c.After,
                }),
            }
        ) + "\n";
}
