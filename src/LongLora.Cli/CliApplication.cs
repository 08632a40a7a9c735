using System.CommandLine;
using System.CommandLine.Help;
using LongLora.Cli.Arguments;
using LongLora.Cli.Commands;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>The <c>longlora</c> command, with one file per verb under Commands/.</summary>
public static class CliApplication
{
    /// <summary>Runs one command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="input">Standard input.</param>
    /// <param name="output">Standard output.</param>
    /// <param name="error">Standard error.</param>
    /// <param name="interruption">Receives Ctrl-C.</param>
    /// <returns>The exit code.</returns>
    public static int Run(string[] args, TextReader input, TextWriter output, TextWriter error, Interruption interruption)
    {
        var (details, messages) = (error, new MessageWriter(error));
        error = messages;
        CliJob job;
        try
        {
            job = CliJob.Find(error);
        }
        catch (ConfigurationException e)
        {
            error.WriteLine(e.Message);
            return ExitCode.Usage;
        }
        if (!job.Speaks)
            (output, error, details) = (TextWriter.Null, TextWriter.Null, TextWriter.Null);
        var code = Run(args, new CliContext(input, output, error, interruption, job), output, error, details);
        if (code != 0)
            job.LetRankZeroSpeak();
        return code;
    }

    private static int Run(string[] args, CliContext context, TextWriter output, TextWriter error, TextWriter details)
    {
        var (interruption, job) = (context.Interruption, context.Job);
        using var receiving = Notices.Receive(error.WriteLine);
        using var stopping = interruption.Token.Register(() => context.SayStopping());

        var verbose = new Option<bool>("--verbose") { Description = "show stack traces", Recursive = true };
        var quiet = new Option<bool>("--quiet") { Description = "show results, warnings and errors, but no progress", Recursive = true };
        var root = CreateRoot(context, quiet, verbose);
        var parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
            return ReportUsage(parsed, error);
        context.IsQuiet = parsed.GetValue(quiet);
        context.IsVerbose = parsed.GetValue(verbose);
        if (parsed.CommandResult.Command.Options.OfType<JsonOption>().Any(o => o.TakesOutput(parsed)))
            context.KeepOutputForResults();
        var configuration = new InvocationConfiguration
        {
            Output = output,
            Error = error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null,
        };
        try
        {
            // Its own action, not its help.
            var command = parsed.CommandResult.Command;
            var isCommand = parsed.Action == command.Action;
            if (isCommand && command is not Verb { OnlyTells: true })
                OpenSsl.Require();
            if (isCommand && command is not Verb { TakesRanks: true })
                job.RequireOneProcess(HelpScreen.GetPath(command), ListForRanks(root));
            return parsed.Invoke(configuration);
        }
        catch (OperationCanceledException) when (interruption.Token.IsCancellationRequested)
        {
            error.WriteLine("Interrupted.");
            return ExitCode.Interrupted;
        }
        catch (Exception e)
        {
            var (code, text) = context.Explain(e);
            error.WriteLine(text);
            if (context.IsVerbose)
                details.WriteLine(e.ToString());
            return code;
        }
    }

    /// <summary>All commands.</summary>
    /// <param name="context">What they work with.</param>
    /// <param name="ofAll">Options that each of them has.</param>
    internal static Command CreateRoot(CliContext context, params IEnumerable<Option> ofAll)
    {
        // Not a RootCommand, because that is named after the program file instead of the command that people type.
        var root = new Command("longlora", "Extends the context window of large language models with LongLoRA.")
        {
            QuickstartCommand.Create(context),
            ReproduceCommand.Create(context),
            TrainCommand.Create(context),
            TrainCommand.CreateSft(context),
            EvaluateCommand.Create(context),
            ChatCommand.Create(context),
            ServeCommand.Create(context),
            GenerateCommand.Create(context),
            MergeCommand.Create(context),
            PullCommand.Create(context),
            ImportCommand.Create(context),
            ExportCommand.Create(context),
            QuantizeCommand.Create(context),
            PrepareCommand.Create(context),
            ReportCommand.Create(context),
            InspectCommand.Create(context),
            PlanCommand.Create(context),
            BenchCommand.Create(context),
            TokenizerCommand.Create(context),
            DataCommand.Create(context),
            CompletionCommand.Create(context),
            CompletionCommand.CreateComplete(context),
            HelpCommand.Create(context),
        };
        foreach (var option in ofAll)
            root.Options.Add(option);
        root.Options.Add(new HelpOption("--help", "-h", "-?") { Description = "show this help", Action = new HelpScreen() });
        root.Options.Add(new VersionOption() { Description = "show the version and commit" });
        TypedNumbers.Register(root);
        return root;
    }

    // The commands that several ranks can run.
    private static IEnumerable<string> ListForRanks(Command command) =>
        command.Subcommands.SelectMany(ListForRanks).Concat(command is Verb { TakesRanks: true } ? [HelpScreen.GetPath(command)] : []);

    private static int ReportUsage(ParseResult parsed, TextWriter error)
    {
        var command = parsed.CommandResult.Command;
        if (parsed.UnmatchedTokens.Count == 0 && command.Subcommands.Count > 0 && command.Action is null)
        {
            error.Write(HelpScreen.Write(command));
            return ExitCode.Usage;
        }
        // The word after an unknown flag is its value, so one message is enough.
        var flags = parsed.UnmatchedTokens.Where(t => t.StartsWith('-')).ToList();
        foreach (var token in flags)
            error.WriteLine($"There is no option {token}.{NearestName.Hint(token, command.Options.Select(o => o.Name))}");
        if (flags.Count == 0 && parsed.UnmatchedTokens is [var word, ..])
        {
            error.WriteLine(
                command.Subcommands.Count > 0
                    ? $"There is no command '{word}'.{NearestName.Hint(word, command.Subcommands.Select(c => c.Name))}"
                    : $"'{word}' does not belong to any option."
            );
        }
        if (parsed.UnmatchedTokens.Count == 0)
        {
            foreach (var problem in UsageProblems.Describe(parsed))
                error.WriteLine(problem);
        }
        error.WriteLine($"See: {HelpScreen.GetPath(command)} --help");
        return ExitCode.Usage;
    }
}
