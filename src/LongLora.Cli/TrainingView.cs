using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Training;
using Spectre.Console.Rendering;
using Spectre.Console;

namespace LongLora.Cli;

/// <summary>Shows a training run: a live panel in a terminal, a line now and then in a pipe.</summary>
internal sealed class TrainingView(IAnsiConsole console, FineTuneOptions options) : IProgress<TrainingStep>
{
    private const int LinesInPipe = 50, SparkWidth = 48;

    private readonly List<TrainingStep> _steps = [];
    private LiveDisplayContext? _live;
    private double _smooth;

    internal FineTuneResult Show(Func<IProgress<TrainingStep>, FineTuneResult> run)
    {
        console.MarkupLineInterpolated($"[bold]{options.Model}[/] to [bold]{options.Context:N0}[/] tokens: {FineTuneOptionTable.Kebab(options.Tuning.ToString())}, {AttentionText()} attention, {options.Steps:N0} steps -> {options.Output}");
        if (!console.Profile.Capabilities.Interactive || console.Profile.Out.IsTerminal == false)
            return run(this);
        return console.Live(new Text("Reading the model and the data ...")).AutoClear(true).Start(live =>
        {
            _live = live;
            live.Refresh();
            return run(this);
        });
    }

    public void Report(TrainingStep value)
    {
        _smooth = _steps.Count == 0 ? value.Loss : 0.9 * _smooth + 0.1 * value.Loss;
        _steps.Add(value);
        if (_live is not null)
            _live.UpdateTarget(Panel(value));
        else if (value.Step == 1 || value.Step == value.Steps || value.Step % Math.Max(1, value.Steps / LinesInPipe) == 0)
            console.WriteLine($"step {value.Step}/{value.Steps}  loss {value.Loss:F4}  lr {value.LearningRate:G3}  grad {value.GradientNorm:F3}  {value.TokensPerSecond:N0} tokens/s  left {Span(Remaining(value))}  memory {Size(value.MemoryBytes)}");
    }

    internal void ShowResult(FineTuneResult result)
    {
        if (_steps.Count > 0)
        {
            var last = _steps[^1];
            console.WriteLine($"{last.Step} steps, loss {_smooth:F4} (smoothed), {last.Tokens:N0} tokens, {Span(last.Elapsed)}, peak memory {Size(last.PeakMemoryBytes)}, {result.TrainedParameters:N0} trained weights");
        }
        console.WriteLine($"Result: {result.Result}");
        var target = options.Tuning == TuningMethod.Full ? $"--model {result.Result}" : $"--model {options.Model} --adapter {result.Result}";
        console.WriteLine($"Next:   longlora evaluate perplexity {target} --data TEXT --context {options.Context}");
        if (options.Tuning != TuningMethod.Full)
            console.WriteLine($"        longlora merge {target} --output MERGED");
    }

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
        double low = pieces.Min(), high = pieces.Max();
        return string.Concat(pieces.Select(p => bars[high > low ? (int)((p - low) / (high - low) * (bars.Length - 1)) : 0]));
    }

    private string AttentionText() => options.Attention == AttentionKind.Full ? "full" : $"{FineTuneOptionTable.Kebab(options.Attention.ToString())} (groups of {options.ResolvedGroupSize:N0})";

    // From the speed of the last steps: the first ones are slower.
    private TimeSpan Remaining(TrainingStep step)
    {
        var recent = _steps.TakeLast(20).ToList();
        var seconds = recent.Count > 1
            ? (recent[^1].Elapsed - recent[0].Elapsed).TotalSeconds / (recent.Count - 1)
            : step.Elapsed.TotalSeconds;
        return TimeSpan.FromSeconds(seconds * (step.Steps - step.Step));
    }

    private static string Span(TimeSpan time) => time.TotalHours >= 1 ? $"{(int)time.TotalHours}h {time.Minutes:D2}m" : time.TotalMinutes >= 1 ? $"{time.Minutes}m {time.Seconds:D2}s" : $"{time.TotalSeconds:F1}s";

    private static string Size(long bytes) => bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):F2} GiB" : $"{bytes / (double)(1L << 20):F0} MiB";
}
