using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Documents;
using LongLora.Options;
using LongLora.Reports;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora train</c> and <c>longlora sft</c>: their flags are the option table, on top of a recipe.</summary>
internal static class TrainCommand
{
    internal static Command Create(CliContext context)
    {
        var command = new Verb(
            "train",
            "Fine-tune a model to a longer context.",
            "longlora train --model Llama-2-7b --data books --context 32768 --output run32k"
        )
        {
            TakesRanks = true,
        };
        var read = AddOptions(command, FineTuneOptionTable.All);
        var json = new JsonOption();
        command.Options.Add(json);
        command.SetAction(parsed => RunJob(() => read(parsed), context, parsed, json));
        return command;
    }

    /// <summary>The same, but only the answers of conversations are learned.</summary>
    internal static Command CreateSft(CliContext context)
    {
        var command = new Verb(
            "sft",
            "Fine-tune a model on conversations. Only the answers are learned.",
            "longlora sft --model Llama-2-7b-chat --data LongAlpaca.json --context 16384 \\",
            "             --template longalpaca --output run16k"
        )
        {
            TakesRanks = true,
        };
        var show = new Option<int?>("--show")
        {
            Description =
                "print the first examples as the model will see them, with the parts that are not learned marked, and do not train",
            HelpName = "N",
        };
        var json = new JsonOption();
        command.Options.Add(show);
        command.Options.Add(json);
        var read = AddOptions(
            command,
            FineTuneOptionTable.All.Where(o => o.Name is not ("task" or "keep-documents-apart")),
            writes: parsed => parsed.GetValue(show) is null
        );
        command.SetAction(parsed =>
        {
            FineTuneOptions Read() => SetTask(read(parsed), TrainingTask.Sft);
            if (parsed.GetValue(show) is not { } count)
                return RunJob(Read, context, parsed, json);
            json.RefuseWith(parsed, show);
            var options = Read();
            return Show(options.Model, options.Data, count, context);
        });
        return command;
    }

    /// <summary>Adds <c>--recipe</c> and the flags of some options to a command, and returns how to read them.</summary>
    /// <param name="command">The command.</param>
    /// <param name="table">The options.</param>
    /// <param name="writes">Whether a command line needs an output; null for always, if there is the option.</param>
    internal static Func<ParseResult, FineTuneOptions> AddOptions(
        Verb command,
        IEnumerable<FineTuneOption> table,
        Func<ParseResult, bool>? writes = null
    )
    {
        var recipe = new RecipeOption();
        command.Options.Add(recipe);
        var flags = table.Select(option => new Flag(option)).ToList();
        flags.AddRange(FineTuneOptionTable.Former.Select(option => new Flag(option) { Hidden = true }));
        flags.ForEach(command.Options.Add);
        return parsed =>
        {
            var options = ApplyFlags(
                parsed.GetValue(recipe) is { } file
                    ? Recipe.ReadFile(file.FullName, FineTuneOptionTable.Defaults)
                    : FineTuneOptionTable.Defaults,
                parsed,
                flags
            );
            var needed = flags.Where(f => f.Setting.Name != "output" || writes?.Invoke(parsed) != false);
            string[] missing =
            [
                .. needed
                    .Where(f => f.Setting.IsMissing(options) && parsed.GetResult(f) is null or { Implicit: true })
                    .Select(f => $"{HelpScreen.GetPath(command)} needs {f.Name} {f.HelpName}: {f.Setting.Help}."),
            ];
            return missing.Length == 0 ? options : throw new ConfigurationException(string.Join(Environment.NewLine, missing));
        };
    }

    private static FineTuneOptions SetTask(FineTuneOptions options, TrainingTask task) =>
        options with
        {
            Data = options.Data with { Task = task },
        };

    /// <summary>Prints conversations as the model will see them, and a run's notes about them.</summary>
    internal static int Show(ModelOptions model, DataOptions data, int count, CliContext context)
    {
        OptionProblems.ThrowIfAny(model.Check, data.Check);
        var source = TrainingData.OpenSource(model);
        var tokenizer = source.RequireTokenizer();
        var sources = TrainingData.Sources(source, data, model.Context, DocumentFormats.Isolated);
        foreach (var example in sources.SelectMany(s => s.Read(context.Cancellation)).Take(count))
        {
            context.Output.WriteLine($"--- {example.Origin}");
            context.Output.WriteLine(TokenLines.Write(example, tokenizer));
            context.Output.WriteLine();
        }
        foreach (var note in TrainingData.NotesOn(model.Context, sources))
            context.Output.WriteLine(FlagWords.Translate(note));
        return ExitCode.Done;
    }

    private static FineTuneOptions ApplyFlags(FineTuneOptions options, ParseResult parsed, List<Flag> flags)
    {
        var problems = new List<string>();
        foreach (var flag in flags)
        {
            if (parsed.GetResult(flag) is not { Implicit: false } given)
                continue;
            try
            {
                var values = given.Tokens.Select(t => t.Value).DefaultIfEmpty("true");
                options = flag.Setting.Apply(options, string.Join('\n', values));
            }
            catch (ConfigurationException e)
            {
                problems.Add("--" + e.Message);
            }
        }
        return problems.Count == 0 ? options : throw new ConfigurationException(string.Join(Environment.NewLine, problems));
    }

    private static int RunJob(Func<FineTuneOptions> read, CliContext context, ParseResult parsed, JsonOption json) =>
        context.Job.Run(read, o => o.Run.RankTimeout, (options, ranks) => Run(options, ranks, context, parsed, json), context.Explain);

    private static int Run(FineTuneOptions options, ICommunicator ranks, CliContext context, ParseResult parsed, JsonOption json)
    {
        var view = new TrainingView(context, options);
        try
        {
            var result = view.Show(() => FineTune.Run(options, ranks, view, DocumentFormats.Isolated, view, view, context.Cancellation));
            if (!ranks.IsRoot())
                return ExitCode.Done;
            SavePlot(options, context);
            view.ShowResult(result);
            // Whoever asked for quiet may read the result from the output.
            foreach (var note in result.Notes)
                (context.IsQuiet ? context.Error : context.Output).WriteLine(FlagWords.Translate(note));
            json.Write(parsed, context, parsed.CommandResult.Command.Name, view.Describe(result));
            return ExitCode.Done;
        }
        catch (OperationCanceledException) when (context.Cancellation.IsCancellationRequested || ranks.Size > 1)
        {
            if (!ranks.IsRoot())
                return ExitCode.Interrupted;
            // Before the first step there is nothing to save, so --resume starts from the beginning.
            if (Directory.Exists(Path.Combine(options.Run.Output, "checkpoints")))
            {
                SavePlot(options, context);
                context.Error.WriteLine("Interrupted. The state was saved. To continue, run the same command with --resume.");
            }
            else
                context.Error.WriteLine(
                    "Interrupted before the first step, so nothing was saved. To start again, run the same command with --resume."
                );
            return ExitCode.Interrupted;
        }
    }

    // A failure to draw the picture does not affect the finished run.
    private static void SavePlot(FineTuneOptions options, CliContext context)
    {
        try
        {
            var (model, output) = (options.Model, options.Run.Output);
            var name = model.FromScratch is null ? Path.GetFileName(Path.TrimEndingDirectorySeparator(model.Path)) : "A new model";
            LossPlot.Save(Path.Combine(output, "loss.png"), MetricsLog.Read(output), $"{name} at {model.Context:N0} tokens");
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            context.Error.WriteLine($"Cannot draw loss.png: {(e.InnerException ?? e).Message}");
        }
    }

    private sealed class RecipeOption : Option<FileInfo>, IGrouped
    {
        internal RecipeOption()
            : base("--recipe")
        {
            Description = "YAML file with any of these options; flags override it";
            HelpName = "FILE";
        }

        public string Group => "Run";
    }

    // Accepts only text. The option table parses it, with the same messages as for a recipe.
    private sealed class Flag : Option<string[]>, IGrouped
    {
        internal Flag(FineTuneOption option)
            : base("--" + option.Name)
        {
            Setting = option;
            var standard = option.Format(FineTuneOptionTable.Defaults).Replace("e-0", "e-", StringComparison.Ordinal);
            var showDefault = standard.Length > 0 && option.Group != "Run" && !(option.IsSwitch && standard == "false");
            Description =
                option.Help + (option.Required is { } required ? $"; {required}" : "") + (showDefault ? $" [default: {standard}]" : "");
            HelpName =
                !option.IsSwitch ? option.Placeholder
                : standard == "false" ? ""
                : "true|false";
            Arity =
                option.IsSwitch ? ArgumentArity.ZeroOrOne
                : option.IsList ? ArgumentArity.OneOrMore
                : ArgumentArity.ExactlyOne;
            AllowMultipleArgumentsPerToken = option.IsList;
            CustomParser = result => [.. result.Tokens.Select(t => t.Value)];
        }

        internal FineTuneOption Setting { get; }

        public string Group => Setting.Group;
    }
}
