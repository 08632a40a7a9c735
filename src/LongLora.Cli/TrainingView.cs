using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Options;
using LongLora.Runs;
using LongLora.Training;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace LongLora.Cli;

/// <summary>Shows a training run: a live panel in a terminal, a line now and then in a pipe.</summary>
internal sealed class TrainingView(CliContext context, FineTuneOptions options) : IProgress<TrainingPlan>, IProgress<TrainingStep>
{
    private const int LinesInPipe = 50,
        SparkWidth = 40;
    private static readonly TimeSpan s_longestSilence = TimeSpan.FromMinutes(1);

    // Steps come from the training thread, Ctrl-C from a thread of its own.
    private readonly Lock _lock = new();
    private readonly List<TrainingStep> _steps = [];
    private LiveDisplayContext? _live;
    private TimeSpan _lastLine;
    private double _smooth;
    private bool _stopping;

    internal FineTuneResult Show(Func<FineTuneResult> run)
    {
        var profile = context.Console.Profile;
        if (!profile.Out.IsTerminal || !profile.Capabilities.Interactive || !profile.Capabilities.Ansi)
            return run();
        var sayStopping = context.SayStopping;
        try
        {
            return context
                .Console.Live(new Text("Reading the model and the data ..."))
                .AutoClear(true)
                .Start(live =>
                {
                    _live = live;
                    live.Refresh();
                    context.SayStopping = Stopping;
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
        Say(
            context.Output,
            $"{options.Model.FromScratch ?? options.Model.Path} to {options.Model.Context:N0} tokens: "
                + $"{FineTuneOptionTable.ToKebabCase(options.Method.Tuning.ToString())}, {AttentionText()} attention, "
                + $"{options.Optimizer.Steps:N0} steps"
        );
    }

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
                _live.UpdateTarget(Panel(value));
            else if (IsLineDue(value))
            {
                _lastLine = value.Elapsed;
                context.Output.WriteLine(
                    $"step {value.Step}/{value.Steps}  loss {value.Loss:F4}  lr {value.LearningRate:G3}  grad {value.GradientNorm:F3}  "
                        + $"{value.TokensPerSecond:N0} tokens/s  left {Span(Remaining(value))}  memory {Size(value.MemoryBytes)}"
                );
                context.Output.Flush();
            }
        }
    }

    internal void ShowResult(FineTuneResult result)
    {
        if (_steps is [.., var last])
        {
            context.Output.WriteLine(
                $"Done:   {last.Step:N0} steps, {last.Tokens:N0} tokens, {result.TrainedParameters:N0} trained weights, "
                    + $"{Span(last.Elapsed)}, peak memory {Size(last.PeakMemoryBytes)}"
            );
            context.Output.WriteLine(
                $"Loss:   {last.Loss:F4}, smoothed {_smooth:F4} nats per token; "
                    + $"curve in {Quoted(Path.Combine(options.Run.Output, "loss.png"))}"
            );
        }
        else
            context.Output.WriteLine($"Done:   all {options.Optimizer.Steps:N0} steps were there already");
        context.Output.WriteLine($"Result: {result.Result}");
        var target =
            options.Method.Tuning == TuningMethod.Full
                ? $"--model {Quoted(result.Result)}"
                : $"--model {Quoted(options.Model.Path)} --adapter {Quoted(result.Result)}";
        var measure =
            options.Data.Task == TrainingTask.Sft
                ? $"answers {target} --data CONVERSATIONS --template {options.Data.Template}"
                : $"perplexity {target} --data TEXT";
        context.Output.WriteLine($"Next:   longlora evaluate {measure} --context {options.Model.Context}");
        if (options.Method.Tuning != TuningMethod.Full)
            context.Output.WriteLine($"        longlora merge {target} --output MERGED");
    }

    private bool IsLineDue(TrainingStep step) =>
        step.Step == step.Steps
        || _steps.Count == 1
        || step.Step % Math.Max(1, step.Steps / LinesInPipe) == 0
        || step.Elapsed - _lastLine >= s_longestSilence;

    private void Stopping()
    {
        lock (_lock)
        {
            _stopping = true;
            _live?.UpdateTarget(_steps is [.., var last] ? Panel(last) : StoppingText());
        }
    }

    private static Markup StoppingText() => new("[yellow]stopping after this micro-batch, then saving; Ctrl-C again stops at once[/]");

    private Grid Panel(TrainingStep step)
    {
        var grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn(new GridColumn().NoWrap());
        void Row(string name, IRenderable value) => grid.AddRow(new Markup($"[grey]{name}[/]"), value);
        Row("step", new Markup($"{Bar(step)} [bold]{step.Step:N0}[/] / {step.Steps:N0}"));
        Row("loss", new Markup($"[bold]{step.Loss:F4}[/]  smoothed {_smooth:F4}  [blue]{Sparkline()}[/]"));
        Row("rate", new Text($"learning rate {step.LearningRate:G3}, gradient norm {step.GradientNorm:F3}"));
        Row("speed", new Text($"{step.TokensPerSecond:N0} tokens/s, {step.Tokens:N0} tokens seen"));
        Row("time", new Text($"{Span(step.Elapsed)} gone, {Span(Remaining(step))} left"));
        Row("memory", new Text($"{Size(step.MemoryBytes)}, peak {Size(step.PeakMemoryBytes)}"));
        if (_stopping)
            grid.AddRow(new Text(""), StoppingText());
        return grid;
    }

    private static string Bar(TrainingStep step)
    {
        const int width = 32;
        var done = (int)((long)step.Step * width / step.Steps);
        return $"[green]{new string('━', done)}[/][grey]{new string('━', width - done)}[/]";
    }

    private string Sparkline()
    {
        const string bars = "▁▂▃▄▅▆▇█";
        var pieces = _steps.Chunk(Math.Max(1, (_steps.Count + SparkWidth - 1) / SparkWidth)).Select(c => c.Average(s => s.Loss)).ToList();
        double low = pieces.Min(),
            high = pieces.Max();
        return string.Concat(pieces.Select(p => bars[high > low ? (int)((p - low) / (high - low) * (bars.Length - 1)) : 0]));
    }

    private static string Quoted(string path) => path.Any(char.IsWhiteSpace) ? $"\"{path}\"" : path;

    private string AttentionText() =>
        options.Method.Attention == AttentionKind.Full
            ? "full"
            : $"{FineTuneOptionTable.ToKebabCase(options.Method.Attention.ToString())} "
                + $"(groups of {options.Method.ResolveGroupSize(options.Model.Context):N0})";

    // From the speed of the last steps: the first ones are slower.
    private TimeSpan Remaining(TrainingStep step)
    {
        var recent = _steps.TakeLast(20).ToList();
        var seconds =
            recent.Count > 1 ? (recent[^1].Elapsed - recent[0].Elapsed).TotalSeconds / (recent.Count - 1) : step.Elapsed.TotalSeconds;
        return TimeSpan.FromSeconds(seconds * (step.Steps - step.Step));
    }

    private static string Span(TimeSpan time) =>
        time.TotalHours >= 1 ? $"{(int)time.TotalHours}h {time.Minutes:D2}m"
        : time.TotalMinutes >= 1 ? $"{time.Minutes}m {time.Seconds:D2}s"
        : $"{time.TotalSeconds:F1}s";

    private static string Size(long bytes) =>
        bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):F2} GiB" : $"{bytes / (double)(1L << 20):F0} MiB";
}
