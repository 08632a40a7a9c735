using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Positions;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate short</c>: compares a model on texts of the original length before and after it was extended.</summary>
internal static class EvaluateShortCommand
{
    internal static Verb Create(CliContext context)
    {
        var source = new ModelArguments(withCompute: true);
        var extended = new Option<string>("--extended")
        {
            Description = "folder of the extended model, if it is a full model instead of an adapter",
            HelpName = "DIR",
        };
        var text = new TextArguments();
        var trials = new Option<int>("--trials")
        {
            Description = "number of pass keys to find; 0 for none [default: 10]",
            HelpName = "N",
            DefaultValueFactory = _ => 10,
        };
        var seed = new SeedOption("seed for the first pass key");
        var json = new JsonOption();
        var command = new Verb(
            "short",
            "Compare a model on short text before and after it was extended.",
            "longlora evaluate short --model base --adapter run/adapter --data held-out"
        )
        {
            extended,
            text.Data,
            text.MaxTokens,
            text.TokenBytes,
            trials,
            seed,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var (basePath, adapterPath) = source.ReadNames(parsed);
            if (adapterPath is null == parsed.GetValue(extended) is null)
                throw new ConfigurationException("Give the extended model: --adapter, or --extended for a full model.");
            EvaluationOutput.Require(json.ReadFile(parsed));
            IReadOnlyList<(string, int, double)> before,
                after;
            int native;
            TokenStore? tokens = null;
            try
            {
                using (var loaded = source.Open(parsed, basePath))
                {
                    native = RopeScaling.GetCurrentContext(loaded.Config);
                    tokens = text.Read(parsed, loaded, context.Cancellation);
                    before = ShortText.Measure(
                        loaded.Network,
                        tokens,
                        native,
                        loaded.Tokenizer,
                        parsed.GetValue(trials),
                        parsed.GetValue(seed),
                        loaded.EndTokens,
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
            json.Write(parsed, context, () => new ShortTextFile
                {
                    Model = basePath,
                    Extended = adapterPath ?? parsed.GetValue(extended),
                    Native = native,
                    Results = changes,
                });
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
        using var loaded = extended is null ? source.Load(parsed, context) : source.Open(parsed, extended);
        return ShortText.Measure(loaded.Network, tokens, native, loaded.Tokenizer, trials, seed, loaded.EndTokens, context.Cancellation);
    }

    private static void Show(CliContext context, IReadOnlyList<ShortTextChange> changes, int native)
    {
        context.Output.WriteLine($"texts of up to {native:N0} tokens (the original context), full attention");
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
}
