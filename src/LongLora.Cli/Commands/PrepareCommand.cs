using System.CommandLine;
using System.Globalization;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Documents.Corpus;
using LongLora.Options;
using LongLora.Reports;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora prepare</c>: turns documents of many types into one corpus.</summary>
internal static class PrepareCommand
{
    private const int PreviewTokens = 256;

    internal static Command Create(CliContext context)
    {
        var data = new Option<string[]>("--data")
        {
            Description =
                "files and folders: text, Markdown, PDF, Word, OpenDocument, EPUB, HTML, e-mail, tables, .jsonl with 'text', source code "
                + "and more",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var output = new OutputOption("folder to create or update", isRequired: false);
        var model = new ModelOption("model folder or GGUF file whose tokenizer is used", isRequired: false);
        var format = new Option<string>("--format")
        {
            Description =
                "bin: tokens in LongLoRA's format; jsonl: one object per document; txt: one file per document [default: bin with "
                + "--model, otherwise jsonl]",
            HelpName = "bin|jsonl|txt",
        };
        format.AcceptOnlyFromAmong("bin", "jsonl", "txt");
        var raw = new Option<bool>("--raw") { Description = "write texts without cleaning them" };
        var parallel = new Option<int>("--parallel")
        {
            Description = $"number of files to read at the same time [default: {Environment.ProcessorCount}]",
            HelpName = "N",
            DefaultValueFactory = _ => Environment.ProcessorCount,
        };
        var show = new Option<int?>("--show")
        {
            Description =
                "print the first documents or conversations as the model will see them, with the parts that are not learned "
                + "marked, and write nothing",
            HelpName = "N",
        };
        var template = new Option<string>("--template")
        {
            Description = "with --show: chat template for conversations: auto (the model's own), a name, or a Jinja file [default: auto]",
            HelpName = "NAME",
            DefaultValueFactory = _ => "auto",
        };
        var reasoning = new Option<bool>("--keep-reasoning")
        {
            Description = "with --show: keep the reasoning of answers also where the template leaves it out",
        };
        var variables = new TemplateOptionsOption("with --show: ");
        var skip = new Option<bool>("--skip-unreadable")
        {
            Description = "exit with code 0 even if some files cannot be read; they are listed in any case",
        };
        var json = new JsonOption("the counts");
        var command = new Verb(
            "prepare",
            "Turn documents into a training corpus.",
            "longlora prepare --data papers notes.docx --model Llama-2-7b --output corpus"
        )
        {
            data,
            output,
            model,
            format,
            raw,
            parallel,
            show,
            template,
            reasoning,
            variables,
            skip,
            json,
            PrepareQuestionsCommand.Create(context),
        };
        command.SetAction(parsed =>
        {
            var tokenizer = parsed.GetValue(model);
            var name = parsed.GetValue(format) ?? (tokenizer is null ? "jsonl" : "bin");
            var options = new PrepareOptions
            {
                Data = parsed.GetValue(data)!,
                Output = parsed.GetValue(output)
                    ?? (
                        parsed.GetValue(show) is null
                            ? throw new ConfigurationException("Option '--output' is required, except with --show.")
                            : "-"
                    ),
                Format = Enum.Parse<CorpusFormat>(name, ignoreCase: true),
                Model = tokenizer,
                Raw = parsed.GetValue(raw),
                Parallel = parsed.GetValue(parallel),
            };
            if (parsed.GetValue(show) is { } count)
            {
                json.RefuseWith(parsed, show);
                if (AreConversations(options.Data))
                {
                    var shown = new DataOptions
                    {
                        Sources = [.. options.Data.Select(path => new DataSource(path))],
                        Task = TrainingTask.Sft,
                        Template = parsed.GetValue(template)!,
                        TemplateOptions = parsed.GetValue(variables)!,
                        KeepReasoning = parsed.GetValue(reasoning),
                    };
                    return ShowConversations(context, options.Model, shown, count);
                }
                return Show(context, options, count) || parsed.GetValue(skip) ? ExitCode.Done : ExitCode.Input;
            }
            foreach (var only in new Option[] { template, reasoning, variables })
            {
                if (parsed.GetResult(only) is { Implicit: false })
                    throw new ConfigurationException($"{only.Name} applies only with --show. Remove it, or add --show N.");
            }
            var report = Build(context, options);
            Print(context, report, options);
            json.Write(parsed, context, "prepare", Describe(report));
            return report.LeftOut.Count == 0 || parsed.GetValue(skip) ? ExitCode.Done : ExitCode.Input;
        });
        return command;
    }

    private static object Describe(CorpusReport report) =>
        new
        {
            report.Path,
            Unit = report.HasTokens ? "tokens" : "characters",
            report.TokenWidth,
            report.Files,
            report.Documents,
            report.Characters,
            Tokens = report.HasTokens ? report.Tokens : (long?)null,
            report.Kinds,
            Lengths = new { report.Lengths.Longest, report.Lengths.Bins },
            report.TakenOver,
            report.Unread,
            report.WithoutText,
            report.LeftOut,
        };

    private static CorpusReport Build(CliContext context, PrepareOptions options)
    {
        if (!context.ShowsProgress)
            return CorpusBuilder.Build(options, null, context.Cancellation);
        return context
            .Console.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(display =>
            {
                var task = display.AddTask("reading");
                return CorpusBuilder.Build(
                    options,
                    new Listener(p =>
                    {
                        task.Description = $"{p.Files:N0} of {p.AllFiles:N0} files";
                        task.Value = p.AllBytes == 0 ? 100 : 100.0 * p.Bytes / p.AllBytes;
                    }),
                    context.Cancellation
                );
            });
    }

    private static void Print(CliContext context, CorpusReport report, PrepareOptions options)
    {
        var unit = report.HasTokens ? "tokens" : "characters";
        var files = new Table().Border(TableBorder.Simple).AddColumn("kind");
        foreach (
            var column in report.HasTokens ? (string[])["files", "documents", "characters", "tokens"] : ["files", "documents", "characters"]
        )
            files.AddColumn(new TableColumn(column).RightAligned());
        foreach (var kind in report.Kinds)
            files.AddRow([
                kind.Extension,
                $"{kind.Files:N0}",
                $"{kind.Documents:N0}",
                $"{kind.Characters:N0}",
                .. report.HasTokens ? (string[])[$"{kind.Tokens:N0}"] : [],
            ]);
        if (report.Kinds.Count > 1)
            files.AddRow([
                "all",
                $"{report.Kinds.Sum(k => k.Files):N0}",
                $"{report.Documents:N0}",
                $"{report.Characters:N0}",
                .. report.HasTokens ? (string[])[$"{report.Tokens:N0}"] : [],
            ]);
        context.Console.Write(files);

        var lengths = new Table().Border(TableBorder.Simple);
        foreach (var column in (string[])[$"{unit} per document", "documents", unit, $"share of all {unit}"])
            lengths.AddColumn(new TableColumn(column).RightAligned());
        foreach (var bin in report.Lengths.Bins)
            lengths.AddRow(
                $"{bin.From:N0} to {bin.Below - 1:N0}",
                $"{bin.Documents:N0}",
                $"{bin.Length:N0}",
                $"{100.0 * bin.Length / report.Lengths.Length:F1} %"
            );
        context.Console.Write(lengths);
        context.Output.WriteLine(
            $"Longest document: {report.Lengths.Longest:N0} {unit}; mean {(double)report.Lengths.Length / report.Documents:N0}."
        );
        if (report.TakenOver > 0)
            context.Output.WriteLine($"{report.TakenOver:N0} of {report.Files:N0} files were unchanged and not read again.");
        SavePlot(context, report, options, unit);
        context.Output.WriteLine($"Corpus: {report.Path}{(report.TokenWidth is { } width ? $" (uint{8 * width})" : "")}");
        if (report.Unread.Count > 0)
            context.Error.WriteLine(FileNotes.DescribeUnread(UnreadKind.Pairs(report.Unread)));
        if (report.WithoutText.Count > 0)
            context.Error.WriteLine(FileNotes.DescribeEmpty(report.WithoutText));
        if (report.LeftOut.Count == 0)
            return;
        context.Error.WriteLine($"{report.LeftOut.Count:N0} of {report.Files:N0} files could not be read and were left out:");
        foreach (var file in report.LeftOut)
            context.Error.WriteLine($"  {file.Reason}");
    }

    // A failure to draw the picture does not affect the corpus.
    private static void SavePlot(CliContext context, CorpusReport report, PrepareOptions options, string unit)
    {
        var path = Path.Combine(options.Output, "lengths.png");
        try
        {
            LengthPlot.Save(
                path,
                [.. report.Lengths.Bins.Select(b => (Short(b.From), b.Documents, b.Length))],
                unit,
                $"{MessageText.Count(report.Documents, "document")}, {(report.HasTokens ? report.Tokens : report.Characters):N0} {unit}"
            );
            context.Output.WriteLine($"Picture: {path}");
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            context.Error.WriteLine($"Cannot draw lengths.png: {(e.InnerException ?? e).Message}");
        }
    }

    // Powers of two: 512, 1k, 2k, ... 1M.
    private static string Short(long length) =>
        length < 1024 ? length.ToString(CultureInfo.InvariantCulture)
        : length < 1 << 20 ? string.Create(CultureInfo.InvariantCulture, $"{length >> 10}k")
        : string.Create(CultureInfo.InvariantCulture, $"{length >> 20}M");

    // Files of a type that contains only conversations, or whose first record is a conversation.
    private static bool AreConversations(IReadOnlyList<string> paths)
    {
        try
        {
            return paths.All(p => DataFiles.GetExtension(p) == ".json")
                || paths.All(File.Exists)
                    && new ConversationFiles(paths, new ConversationFormat(), DocumentFormats.Isolated.OfType<IRecordReader>())
                        .Read()
                        .Any();
        }
        catch (DataException)
        {
            return false;
        }
    }

    private static int ShowConversations(CliContext context, string? model, DataOptions data, int count)
    {
        _ = model
            ?? throw new ConfigurationException("These are conversations. Give --model to choose the model whose template writes them.");
        // Whole conversations are shown, even if training will shorten them.
        return TrainCommand.Show(new ModelOptions { Path = model, Context = 1 << 20 }, data, count, context);
    }

    // Whether every file could be read.
    private static bool Show(CliContext context, PrepareOptions options, int count)
    {
        var (isWhole, isEmpty) = (true, true);
        void LeftOut(LeftOutFile file)
        {
            isWhole = false;
            context.Error.WriteLine($"Left out: {file.Reason}");
        }
        foreach (var document in CorpusBuilder.Preview(options, PreviewTokens, LeftOut).Take(count))
        {
            isEmpty = false;
            context.Output.WriteLine($"--- {document.Name}");
            context.Output.WriteLine(document.Example is null ? document.Text : TokenLines.Write(document.Example, document.Tokenizer!));
            context.Output.WriteLine();
        }
        if (isWhole && isEmpty && count > 0)
            context.Error.WriteLine("There is no text in the data: every file is empty or was written by a program.");
        return isWhole;
    }

    private sealed class Listener(Action<PrepareProgress> report) : IProgress<PrepareProgress>
    {
        public void Report(PrepareProgress value) => report(value);
    }
}
