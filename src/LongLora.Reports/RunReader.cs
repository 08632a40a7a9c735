using System.Text.Json;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>
/// Reads what a run directory holds: <c>recipe.yaml</c>, <c>metrics.jsonl</c>, and every <c>.json</c> in it or in its <c>evaluations/</c>
/// that an
/// <c>evaluate</c> command wrote. A result of the model alone is that before the run, unless the model is the run's own.
/// </summary>
public static class RunReader
{
    /// <summary>Names of the two states of a model.</summary>
    public const string Before = "before",
        After = "after";

    private static readonly string[] s_facts =
    [
        "model",
        "data",
        "context",
        "task",
        "tuning",
        "rank",
        "alpha",
        "attention",
        "rope-scaling",
        "short-share",
        "steps",
        "batch-size",
        "gradient-accumulation",
        "learning-rate",
        "schedule",
        "quantization",
        "seed",
    ];

    /// <summary>Reads one run directory.</summary>
    /// <param name="path">The directory.</param>
    /// <exception cref="CheckpointException">It is no run directory, or a file in it is damaged.</exception>
    public static ReportRun Read(string path)
    {
        var steps = MetricsLog.Read(path);
        var recipePath = Path.Combine(path, "recipe.yaml");
        var recipe = File.Exists(recipePath) ? File.ReadAllText(recipePath) : "";
        var options = recipe.Length > 0 ? Options.Recipe.ReadFile(recipePath, FineTuneOptionTable.Defaults) : null;
        var run = new ReportRun
        {
            Name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))),
            Title = options is null
                ? "Run"
                : $"{Name(options.Model.Path.Length > 0 ? options.Model.Path : "a new model")}, {options.Model.Context:N0} tokens",
            Summary = options is null ? "" : Summary(options),
            Facts = options is null
                ? []
                : [.. s_facts.Select(FineTuneOptionTable.Find).Select(o => (o.Name, o.Format(options))).Where(f => f.Item2.Length > 0)],
            Steps = steps,
            Recipe = recipe,
        };
        string[] folders = [path, Path.Combine(path, "evaluations")];
        foreach (
            var file in folders.Where(Directory.Exists).SelectMany(f => Directory.EnumerateFiles(f, "*.json")).Order(StringComparer.Ordinal)
        )
            run = Add(run, file, path);
        return run with
        {
            Perplexity = [.. run.Perplexity.OrderBy(p => Place(p.State))],
            Retrieval = [.. run.Retrieval.GroupBy(r => r.Task).SelectMany(task => task.OrderBy(r => Place(r.State)))],
        };
    }

    // Whatever the files are called.
    private static int Place(string state) =>
        state == Before ? 0
        : state == After ? 2
        : 1;

    private static string Name(string path) => Path.GetFileName(Path.TrimEndingDirectorySeparator(path));

    private static string Summary(FineTuneOptions options)
    {
        var method = options.Method;
        var attention =
            method.Attention == LongLora.Attention.AttentionKind.Full
                ? "full attention"
                : $"{FineTuneOptionTable.Kebab(method.Attention.ToString())} attention in groups of {method.ResolveGroupSize(options.Model.Context):N0}";
        var trained =
            method.Tuning == LongLora.Adapters.TuningMethod.Full
                ? "all weights"
                : $"LoRA of rank {method.Rank}{(method.TrainsEmbeddings ? ", embeddings" : "")}{(method.TrainsNorms ? ", norms" : "")}";
        var scaling = options.Model.RopeScaling == "auto" ? "" : $"; positions {options.Model.RopeScaling}";
        return $"Trained on {(options.Data.Task == TrainingTask.Sft ? "conversations" : "text")} of {options.Model.Context:N0} tokens with "
            + $"{attention}: {trained}{scaling}. All measures use full attention.";
    }

    private static ReportRun Add(ReportRun run, string file, string path)
    {
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllText(file));
            var root = json.RootElement;
            if (
                root.ValueKind != JsonValueKind.Object
                || (root.TryGetProperty("task", out var task) ? task.GetString() : null) is not { } name
            )
                return run; // some other JSON
            var state = State(root, file, path);
            return name switch
            {
                "perplexity" => run with
                {
                    Perplexity = [.. run.Perplexity, new(state, [.. root.GetProperty("results").EnumerateArray().Select(Perplexity)])],
                },
                "short" => run with { ShortText = [.. run.ShortText, .. root.GetProperty("results").EnumerateArray().Select(Change)] },
                "ruler" => run with
                {
                    Retrieval = [.. run.Retrieval, .. root.GetProperty("tasks").EnumerateArray().Select(t => Retrieval(t, state))],
                },
                _ when root.TryGetProperty("scoring", out _) => run with { Retrieval = [.. run.Retrieval, Retrieval(root, state)] },
                _ => run,
            };
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new CheckpointException(
                $"{file} is not understood: {e.Message} Write it again with longlora evaluate ... --json, or move it away.",
                e
            );
        }
    }

    private static string State(JsonElement root, string file, string run)
    {
        if (!root.TryGetProperty("model", out var model))
            return Path.GetFileNameWithoutExtension(file);
        var isOwn = Path.GetFullPath(model.GetString()!).StartsWith(Path.GetFullPath(run), StringComparison.Ordinal);
        return isOwn || (root.TryGetProperty("adapter", out var adapter) && adapter.ValueKind == JsonValueKind.String) ? After : Before;
    }

    private static PerplexityResult Perplexity(JsonElement result) =>
        new(result.GetProperty("context").GetInt32(), result.GetProperty("loss").GetDouble(), result.GetProperty("tokens").GetInt64())
        {
            ByPosition = result.TryGetProperty("positions", out var positions)
                ?
                [
                    .. positions
                        .EnumerateArray()
                        .Select(b => new PerplexityBin(
                            b.GetProperty("from").GetInt32(),
                            b.GetProperty("to").GetInt32(),
                            b.GetProperty("loss").GetDouble(),
                            b.GetProperty("tokens").GetInt64()
                        )),
                ]
                : [],
        };

    private static ShortTextChange Change(JsonElement result) =>
        new(
            result.GetProperty("measure").GetString()!,
            result.GetProperty("length").GetInt32(),
            result.GetProperty("before").GetDouble(),
            result.GetProperty("after").GetDouble()
        );

    private static ReportRetrieval Retrieval(JsonElement task, string state) =>
        new(
            task.GetProperty("task").GetString()!,
            state,
            [
                .. task.GetProperty("results")
                    .EnumerateArray()
                    .Select(r => new ReportRetrievalLength(
                        r.GetProperty("length").GetInt32(),
                        r.GetProperty("accuracy").GetDouble(),
                        [.. r.GetProperty("trials").EnumerateArray().Select(Trial)]
                    )),
            ]
        );

    private static (double, double) Trial(JsonElement trial) =>
        (
            trial.GetProperty("depth").GetDouble(),
            trial.TryGetProperty("score", out var score) ? score.GetDouble()
            : trial.GetProperty("right").GetBoolean() ? 1
            : 0
        );
}
