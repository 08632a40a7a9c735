using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Hub;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora pull</c>: gets a model or a data set. The only verb that opens connections by itself.</summary>
internal static class PullCommand
{
    internal static Command Create(CliContext context)
    {
        var name = new Argument<string>("NAME")
        {
            Description = "ORG/NAME on the Hugging Face Hub; with @REVISION for a branch, tag or commit",
        };
        var dataset = new Option<bool>("--dataset") { Description = "it is a data set" };
        var files = new Option<string[]>("--file")
        {
            Description = "only this file, such as model.Q4_K_M.gguf, Q4_K_M or data/*.parquet",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
        };
        var offline = new Option<bool>("--offline") { Description = "open no connection; HF_HUB_OFFLINE=1 does the same" };
        var json = new JsonOption("what was fetched");
        var command = new Verb(
            "pull",
            "Get a model or a data set into the Hugging Face cache, where every verb finds it.",
            "longlora pull HuggingFaceTB/SmolLM2-135M-Instruct"
        )
        {
            name,
            dataset,
            files,
            offline,
            json,
        };
        command.SetAction(parsed =>
        {
            var options = PullOptions.FromEnvironment(parsed.GetValue(name)!) with
            {
                IsDataset = parsed.GetValue(dataset),
                Files = parsed.GetValue(files) ?? [],
            };
            if (parsed.GetValue(offline))
                options = options with { IsOffline = true };
            var result = Run(context, options);
            foreach (var note in result.Notes)
                context.Output.WriteLine(note);
            context.Output.WriteLine(
                $"{options.Name}: {MessageText.Count(result.Files.Count, "file")}, {Describe(result.AllBytes)} "
                    + $"({Describe(result.FetchedBytes)} fetched), hashes checked; commit {result.Commit[..12]}."
            );
            context.Output.WriteLine($"Folder: {result.Folder}");
            context.Output.WriteLine($"Use it with: {(options.IsDataset ? "--data" : "--model")} {options.Name}");
            json.Write(
                parsed,
                context,
                "pull",
                new
                {
                    options.Name,
                    result.Commit,
                    result.Folder,
                    result.Files,
                    Bytes = result.AllBytes,
                    result.FetchedBytes,
                    result.Notes,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static PullResult Run(CliContext context, PullOptions options)
    {
        if (!context.Console.Profile.Out.IsTerminal)
            return RunWith(options, new Lines(context), context.Cancellation);
        return context
            .Console.Progress()
            .AutoClear(true)
            .Columns(
                new TaskDescriptionColumn(),
                new ProgressBarColumn(),
                new PercentageColumn(),
                new DownloadedColumn(),
                new TransferSpeedColumn(),
                new RemainingTimeColumn()
            )
            .Start(display =>
            {
                var task = display.AddTask(Markup.Escape(options.Name));
                return RunWith(
                    options,
                    new Listener(p =>
                    {
                        task.Description = Markup.Escape(p.Waiting is null ? options.Name : $"waiting for {p.Waiting}");
                        task.MaxValue = Math.Max(1, p.AllBytes);
                        task.Value = p.DoneBytes;
                    }),
                    context.Cancellation
                );
            });
    }

    private static PullResult RunWith(PullOptions options, IProgress<PullProgress> progress, CancellationToken cancellation) =>
        HubPull.RunAsync(options, progress, cancellation).GetAwaiter().GetResult();

    private static string Describe(double bytes) =>
        bytes < 1 << 20 ? $"{bytes / 1024:N1} KiB"
        : bytes < 1 << 30 ? $"{bytes / 1048576:N1} MiB"
        : $"{bytes / 1073741824:N2} GiB";

    private sealed class Listener(Action<PullProgress> tell) : IProgress<PullProgress>
    {
        public void Report(PullProgress value) => tell(value);
    }

    // A line for each tenth, where nothing can be redrawn.
    private sealed class Lines(CliContext context) : IProgress<PullProgress>
    {
        private int _tenths;
        private string? _waiting;

        public void Report(PullProgress value)
        {
            if (value.Waiting != _waiting && (_waiting = value.Waiting) is not null)
                context.Output.WriteLine($"Waiting for {value.Waiting}.");
            var tenths = value.AllBytes == 0 ? 0 : (int)(10 * value.DoneBytes / value.AllBytes);
            if (tenths <= _tenths || tenths > 10)
                return;
            _tenths = tenths;
            var left = value.TimeLeft is { } time && tenths < 10 ? $", {Math.Ceiling(time.TotalSeconds):N0} s left" : "";
            context.Output.WriteLine(
                $"{10 * tenths, 3} %  {Describe(value.DoneBytes)} of {Describe(value.AllBytes)}, {Describe(value.BytesPerSecond)}/s{left}"
            );
        }
    }
}
