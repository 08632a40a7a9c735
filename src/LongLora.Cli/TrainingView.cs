using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Options;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace LongLora.Cli;

/// <summary>Shows a training run: a live panel in a terminal, an occasional line in a pipe.</summary>
internal sealed class TrainingView(CliContext context, FineTuneOptions options)
    : IProgress<TrainingPlan>,
        IProgress<TrainingStep>,
        IProgress<string>
{
    private const int LinesInPipe = 50,
        SparkWidth = 40;
    private static readonly TimeSpan s_longestSilence = TimeSpan.FromMinutes(1);

    // Steps come from the training thread, Ctrl-C from another thread.
    private readonly Lock _lock = new();
    private readonly List<TrainingStep> _steps = [];
    private LiveDisplayContext? _live;
    private TimeSpan _lastLine;
    private double _smooth;
    private bool _stopping;

    internal FineTuneResult Show(Func<FineTuneResult> run)
    {
        var profile = context.Console.Profile;
        var sayStopping = context.SayStopping;
        if (!context.Job.HasOthers)
            context.SayStopping = () => context.Error.WriteLine("Stopping. Press Ctrl-C again to stop immediately without saving.");
        try
        {
            if (!context.ShowsProgress || !profile.Capabilities.Interactive || !profile.Capabilities.Ansi)
                return run();
            return context
                .Console.Live(new Text("Loading the model and the data ..."))
                .AutoClear(true)
                .Start(live =>
                {
                    _live = live;
                    live.Refresh();
                    context.SayStopping = ShowStopping;
                    return run();
                });
        }
        finally
        {
            (context.SayStopping, _live) = (sayStopping, null);
        }
    }

    public void Report(TrainingPlan value)
    {
        if (value.Warning is { } warning)
            Say(context.Error, warning);
        if (context.IsQuiet)
            return;
        Say(
            context.Output,
            $"{options.Model.FromScratch ?? options.Model.Path} to {options.Model.Context:N0} tokens: "
                + $"{FineTuneOptionTable.ToKebabCase(options.Method.Tuning.ToString())}, {DescribeAttention()} attention, "
                + $"{options.Optimizer.Steps:N0} steps{(value.ComputeType == TorchSharp.torch.ScalarType.BFloat16 ? ", in bf16" : "")}"
        );
    }

    public void Report(string value) => Say(context.Error, value);

    // A live panel moves down for what the console itself writes, and for nothing else.
    private void Say(TextWriter writer, string line)
    {
        if (_live is null)
            writer.WriteLine(line);
        else
            context.Console.WriteLine(line);
    }

    public void Report(TrainingStep value)
    {
        lock (_lock)
        {
            _smooth = _steps.Count == 0 ? value.Loss : 0.9 * _smooth + 0.1 * value.Loss;
            _steps.Add(value);
            if (_live is not null)
                _live.UpdateTarget(MakePanel(value));
            else if (!context.IsQuiet && IsLineDue(value))
            {
                _lastLine = value.Elapsed;
                context.Output.WriteLine(
                    $"step {value.Step}/{value.Steps}  loss {value.Loss:F4}  lr {value.LearningRate:G3}  grad {value.GradientNorm:F3}  "
                        + $"{value.TokensPerSecond:N0} tokens/s  left {FormatSpan(EstimateRemaining(value))}  memory "
                        + $"{FormatSize(value.MemoryBytes)}{(value.IsSkipped ? "  skipped" : "")}"
                );
                context.Output.Flush();
            }
        }
    }

    internal void ShowResult(FineTuneResult result)
    {
        if (context.IsQuiet)
        {
            context.Output.WriteLine($"Result: {result.Result}");
            return;
        }
        if (_steps is [.., var last])
        {
            context.Output.WriteLine(
                $"Done:   {MessageText.Count(last.Step, "step")}, {last.Tokens:N0} tokens, {FormatPasses(result.Passes)} over the data, "
                    + $"{result.TrainedParameters:N0} trained weights, "
                    + $"{FormatSpan(last.Elapsed)}, peak memory {FormatSize(last.PeakMemoryBytes)}"
            );
            context.Output.WriteLine(
                $"Loss:   {last.Loss:F4}, smoothed {_smooth:F4} nats per token; "
                    + $"curve in {Quote(Path.Combine(options.Run.Output, "loss.png"))}"
            );
        }
        else
            context.Output.WriteLine($"Done:   all {result.Steps:N0} steps were already done");
        context.Output.WriteLine($"Result: {result.Result}");
        var target =
            options.Method.Tuning == TuningMethod.Full
                ? $"--model {Quote(result.Result)}"
                : $"--model {Quote(options.Model.Path)} --adapter {Quote(result.Result)}";
        var measure =
            options.Data.Task == TrainingTask.Sft
                ? $"answers {target} --data CONVERSATIONS --template {options.Data.Template}"
                : $"perplexity {target} --data TEXT";
        context.Output.WriteLine($"Next:   longlora evaluate {measure} --context {options.Model.Context}");
        if (options.Method.Tuning != TuningMethod.Full)
            context.Output.WriteLine($"        longlora merge {target} --output MERGED");
    }

    /// <summary>The figures of a finished run. Those of steps are null where all steps had been done before.</summary>
    internal object Describe(FineTuneResult result)
    {
        var last = _steps.LastOrDefault();
        return new
        {
            result.Result,
            options.Model.Context,
            result.Steps,
            StepsOfThisRun = _steps.Count,
            result.TrainedParameters,
            result.Passes,
            last?.Tokens,
            last?.Loss,
            SmoothedLoss = last is null ? (double?)null : _smooth,
            ElapsedSeconds = last?.Elapsed.TotalSeconds,
            last?.PeakMemoryBytes,
            Metrics = Path.Combine(options.Run.Output, MetricsLog.FileName),
            Notes = result.Notes.Select(FlagWords.Translate),
        };
    }

    private bool IsLineDue(TrainingStep step) =>
        step.Step == step.Steps
        || _steps.Count == 1
        || step.Step % Math.Max(1, step.Steps / LinesInPipe) == 0
        || step.Elapsed - _lastLine >= s_longestSilence;

    private void ShowStopping()
    {
        lock (_lock)
        {
            _stopping = true;
            _live?.UpdateTarget(_steps is [.., var last] ? MakePanel(last) : MakeStoppingText());
        }
    }

    private static Markup MakeStoppingText() =>
        new("[yellow]stopping after this micro-batch, then saving; press Ctrl-C again to stop immediately[/]");

    private Grid MakePanel(TrainingStep step)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn(new GridColumn().NoWrap());
        void Row(string name, IRenderable value) => grid.AddRow(new Markup($"[grey]{name}[/]"), value);
        Row("step", new Markup($"{MakeBar(step)} [bold]{step.Step:N0}[/] / {step.Steps:N0}"));
        Row("loss", new Markup($"[bold]{step.Loss:F4}[/]  smoothed {_smooth:F4}  [blue]{MakeSparkline()}[/]"));
        Row("rate", new Text($"learning rate {step.LearningRate:G3}, gradient norm {step.GradientNorm:F3}"));
        Row("speed", new Text($"{step.TokensPerSecond:N0} tokens/s, {step.Tokens:N0} tokens so far"));
        Row("time", new Text($"{FormatSpan(step.Elapsed)} elapsed, {FormatSpan(EstimateRemaining(step))} left"));
        Row("memory", new Text($"{FormatSize(step.MemoryBytes)}, peak {FormatSize(step.PeakMemoryBytes)}"));
        if (_stopping)
            grid.AddRow(new Text(""), MakeStoppingText());
        return grid;
    }

    private static string MakeBar(TrainingStep step)
    {
        const int width = 32;
        var done = (int)((long)step.Step * width / step.Steps);
        return $"[green]{new string('━', done)}[/][grey]{new string('━', width - done)}[/]";
    }

    private string MakeSparkline()
    {
        const string bars = "▁▂▃▄▅▆▇█";
        var chunks = _steps.Chunk(Math.Max(1, (_steps.Count + SparkWidth - 1) / SparkWidth)).Select(c => c.Average(s => s.Loss)).ToList();
        double low = chunks.Min(),
            high = chunks.Max();
        return string.Concat(chunks.Select(p => bars[high > low ? (int)((p - low) / (high - low) * (bars.Length - 1)) : 0]));
    }

    private static string Quote(string path) => path.Any(char.IsWhiteSpace) ? $"\"{path}\"" : path;

    private string DescribeAttention() =>
        options.Method.Attention == AttentionKind.Full
            ? "full"
            : $"{FineTuneOptionTable.ToKebabCase(options.Method.Attention.ToString())} "
                + $"(groups of {options.Method.ResolveGroupSize(options.Model.Context):N0})";

    // Uses the speed of the last steps, because the first ones are slower.
    private TimeSpan EstimateRemaining(TrainingStep step)
    {
        var recent = _steps.TakeLast(20).ToList();
        var seconds =
            recent.Count > 1 ? (recent[^1].Elapsed - recent[0].Elapsed).TotalSeconds / (recent.Count - 1) : step.Elapsed.TotalSeconds;
        return TimeSpan.FromSeconds(seconds * (step.Steps - step.Step));
    }

    private static string FormatPasses(double passes) =>
        passes < 0.01 ? "less than 0.01 passes"
        : passes < 10 ? $"{passes:0.##} {(Math.Round(passes, 2) == 1 ? "pass" : "passes")}"
        : $"{passes:N0} passes";

    private static string FormatSpan(TimeSpan time) =>
        time.TotalHours >= 1 ? $"{(int)time.TotalHours}h {time.Minutes:D2}m"
        : time.TotalMinutes >= 1 ? $"{time.Minutes}m {time.Seconds:D2}s"
        : $"{time.TotalSeconds:F1}s";

    private static string FormatSize(long bytes) =>
        bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):F2} GiB" : $"{bytes / (double)(1L << 20):F0} MiB";
}
