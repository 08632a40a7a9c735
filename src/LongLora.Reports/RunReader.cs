using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>
/// Reads a run directory: <c>recipe.yaml</c>, <c>metrics.jsonl</c>, and every <c>.json</c> in it or in its <c>evaluations/</c>
/// that an
/// <c>evaluate</c> command wrote. A result of the run's adapter or model counts as "after", one of the model that the run began with as
/// "before", and one of any other under the name of its file.
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
    /// <exception cref="CheckpointException">It is not a run directory, or one of its files is damaged.</exception>
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
                : $"{TakeName(options.Model.Path.Length > 0 ? options.Model.Path : "a new model")}, {options.Model.Context:N0} tokens",
            Summary = options is null ? "" : Summarize(options),
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
            run = Add(run, file, path, options);
        return run with
        {
            Perplexity = [.. run.Perplexity.OrderBy(p => RankState(p.State))],
            Answers = [.. run.Answers.OrderBy(a => RankState(a.State))],
            Streaming = [.. run.Streaming.OrderBy(s => RankState(s.State))],
            Retrieval = [.. run.Retrieval.GroupBy(r => r.Task).SelectMany(task => task.OrderBy(r => RankState(r.State)))],
        };
    }

    // The file names do not matter.
    private static int RankState(string state) =>
        state == Before ? 0
        : state == After ? 2
        : 1;

    private static string TakeName(string path) => Path.GetFileName(Path.TrimEndingDirectorySeparator(path));

    private static string Summarize(FineTuneOptions options)
    {
        var method = options.Method;
        var kind = FineTuneOptionTable.ToKebabCase(method.Attention.ToString());
        var attention =
            method.Attention == LongLora.Attention.AttentionKind.Full
                ? "full attention"
                : $"{kind} attention in groups of {method.ResolveGroupSize(options.Model.Context):N0}";
        var trained =
            method.Tuning == LongLora.Adapters.TuningMethod.Full
                ? "all weights"
                : $"LoRA of rank {method.Rank}{(method.TrainsEmbeddings ? ", embeddings" : "")}{(method.TrainsNorms ? ", norms" : "")}";
        var scaling = options.Model.RopeScaling == "auto" ? "" : $"; positions {options.Model.RopeScaling}";
        return $"Trained on {(options.Data.Task == TrainingTask.Sft ? "conversations" : "text")} of {options.Model.Context:N0} tokens "
            + $"with {attention}: {trained}{scaling}. All evaluations use full attention.";
    }

    private static ReportRun Add(ReportRun run, string file, string path, FineTuneOptions? options)
    {
        string State(ModelEvaluationFile found) => FindState(found, file, path, options);
        return EvaluationFile.Read(file) switch
        {
            PerplexityFile found => run with { Perplexity = [.. run.Perplexity, new(State(found), found.Results)] },
            RetrievalFile found => run with { Retrieval = [.. run.Retrieval, ConvertRetrieval(found.Task, State(found), found.Results)] },
            RulerFile found => run with
            {
                Retrieval = [.. run.Retrieval, .. found.Tasks.Select(task => ConvertRetrieval(task.Task, State(found), task.Results))],
            },
            AnswersFile found => run with { Answers = [.. run.Answers, new(State(found), found)] },
            StreamingFile found => run with { Streaming = [.. run.Streaming, new(State(found), found.Results)] },
            ShortTextFile { Extended: { } extended } found when !IsOfRun(extended, path) => run with
            {
                ShortText = [.. run.ShortText, .. found.Results.Select(r => r with { Measure = $"{r.Measure} ({NameOf(file)})" })],
            },
            ShortTextFile found => run with { ShortText = [.. run.ShortText, .. found.Results] },
            null => run, // other JSON
            { Kind: var kind } => run with
            {
                Notes = [.. run.Notes, $"{Path.GetFileName(file)} has results of '{kind}', which are not shown here."],
            },
        };
    }

    private static string NameOf(string file) => Path.GetFileNameWithoutExtension(file);

    private static string FindState(ModelEvaluationFile found, string file, string run, FineTuneOptions? options)
    {
        if (found.Model is not { } model)
            return NameOf(file);
        if (found.Adapter is { } adapter)
            return IsOfRun(adapter, run) ? After : NameOf(file);
        return IsInside(model, run) ? After
            : options is null || TakeName(model) == TakeName(options.Model.Path) ? Before
            : NameOf(file);
    }

    // Also where it stood before the run was moved.
    private static bool IsOfRun(string path, string run) =>
        IsInside(path, run)
        || Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))) is { } parent
            && TakeName(parent) == TakeName(Path.GetFullPath(run));

    // Whether a path is a folder or inside it. A sibling folder can have a name with the same start.
    private static bool IsInside(string path, string folder)
    {
        var relative = Path.GetRelativePath(folder, path);
        var leadsUp = relative == ".." || relative.StartsWith(".." + Path.DirectorySeparatorChar, StringComparison.Ordinal);
        return !leadsUp && !Path.IsPathRooted(relative);
    }

    private static ReportRetrieval ConvertRetrieval(string task, string state, IReadOnlyList<RetrievalAtLength> results) =>
        new(
            task,
            state,
            [.. results.Select(r => new ReportRetrievalLength(r.Length, r.Accuracy, [.. r.Trials.Select(t => (t.Depth, t.Score))]))]
        );
}
