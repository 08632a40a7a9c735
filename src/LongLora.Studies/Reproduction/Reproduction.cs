using System.Diagnostics;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using LongLora.Training;

namespace LongLora.Studies;

/// <summary>
/// Repeats LongLoRA's tables on a model that is small enough for any machine. It trains and measures one run after the other and writes
/// each result immediately. An interrupted run continues where it stopped.
/// </summary>
internal static class Reproduction
{
    /// <summary>Does all runs that have no result yet.</summary>
    /// <param name="options">The options.</param>
    /// <param name="stage">Receives a description of the current stage.</param>
    /// <param name="progress">Receives every training step.</param>
    /// <param name="done">Receives each result, including those of earlier runs.</param>
    /// <param name="cancellation">Cancels the work; finished results are kept.</param>
    public static IReadOnlyList<ReproductionFile> Run(
        ReproductionOptions options,
        IProgress<string>? stage = null,
        IProgress<TrainingStep>? progress = null,
        IProgress<ReproductionFile>? done = null,
        CancellationToken cancellation = default
    )
    {
        LibTorch.EnsureLoaded();
        if (options.Factor < 4 || options.Factor % 4 != 0 || options.Steps < 1 || options.Trials < 1)
            throw new ConfigurationException(
                $"factor is {options.Factor}, steps is {options.Steps} and trials is {options.Trials}; factor must be a multiple "
                    + "of 4, and the others at least 1."
            );
        var native = ReadNativeContext(options);
        var runs = ReproductionGrid.ListRuns(native, options.Factor);
        foreach (var name in options.Only.Where(name => runs.All(r => r.Name != name)))
            throw new ConfigurationException($"There is no run '{name}'.{NearestName.Hint(name, runs.Select(r => r.Name))}");
        var chosen = runs.Where(r => options.Only.Count == 0 || options.Only.Contains(r.Name)).ToList();

        stage?.Report("Collecting text");
        var tokenizer = ModelSource.Open(options.Model).RequireTokenizer();
        var data = Locate(options, "data", "train.bin");
        ReproductionData.Write(
            data,
            Locate(options, "data", "test.bin"),
            tokenizer,
            native,
            native * options.Factor,
            2 * options.Steps,
            options.Seed,
            cancellation
        );
        using var test = TokenStore.Build(
            ExampleSources.Open([Locate(options, "data", "test.bin")], tokenizer, tokenizer.VocabularySize),
            null,
            cancellation: cancellation
        );

        var results = new List<ReproductionFile>();
        foreach (var (run, number) in chosen.Select((r, i) => (r, i + 1)))
        {
            var file = Locate(options, "results", run.Name + ".json");
            var made = $"{Describe(options, run, native)}; text of SHA-256 {test.Digest}; {options.Trials} pass keys";
            if (Read(file, made) is not { } result)
            {
                stage?.Report($"{number} of {chosen.Count}: {run.Name}");
                result = Make(options, run, native, tokenizer, test, progress, cancellation) with { Made = made };
                result.Write(file);
                RemoveCheckpoints(options, run);
            }
            results.Add(result);
            done?.Report(result);
        }
        return results;
    }

    /// <summary>The context of the original model.</summary>
    public static int ReadNativeContext(ReproductionOptions options)
    {
        using var folder = CheckpointDirectory.Open(ModelLocation.Find(options.Model).Path, headersOnly: true);
        return RopeScaling.GetCurrentContext(folder.Config);
    }

    /// <summary>
    /// The training options of a run: the paper's, except for YaRN and a learning rate for a small model and a short run.
    /// </summary>
    internal static FineTuneOptions MakeTrainingOptions(ReproductionOptions options, ReproductionRun run, int native) =>
        Recipe.Parse(
            run.Settings is { Count: > 0 } settings ? string.Join('\n', settings) : "rank: 8",
            run.Name,
            new FineTuneOptions
            {
                Model = new()
                {
                    Path = options.Model,
                    Context = native * options.Factor,
                    RopeScaling = "yarn",
                },
                Data = new() { Sources = [Locate(options, "data", "train.bin")], Shuffle = false },
                Optimizer = new()
                {
                    LearningRate = run.IsFull ? options.LearningRate / 4 : options.LearningRate,
                    WarmupSteps = Math.Min(5, options.Steps / 4),
                    Steps = options.Steps,
                    GradientAccumulation = 2,
                    Schedule = ScheduleKind.Linear,
                },
                Run = new()
                {
                    Output = Locate(options, "runs", run.Name),
                    SaveEvery = 20,
                    KeepCheckpoints = 1,
                    Resume = true,
                    Seed = options.Seed,
                },
            }
        );

    private static ReproductionFile Make(
        ReproductionOptions options,
        ReproductionRun run,
        int native,
        ITokenizer tokenizer,
        TokenStore test,
        IProgress<TrainingStep>? progress,
        CancellationToken cancellation
    )
    {
        var training = run.Settings is null ? null : MakeTrainingOptions(options, run, native);
        using var process = Process.GetCurrentProcess();
        var (clock, busy) = (Stopwatch.StartNew(), process.TotalProcessorTime);
        var trained = training is null ? null : FineTune.Run(training, progress, cancellation: cancellation);
        process.Refresh();
        var (seconds, processor) = (clock.Elapsed.TotalSeconds, (process.TotalProcessorTime - busy).TotalSeconds);

        var isWhole = training is { Method.Tuning: TuningMethod.Full };
        using var loaded = LoadedModel.Open(
            isWhole ? trained!.Result : options.Model,
            new LoadOptions
            {
                Adapter = isWhole ? null : trained?.Result,
                Context = run.Stretch is null ? null : native * options.Factor,
                RopeScaling = run.Stretch ?? "auto",
                Device = "cpu",
            }
        );
        var model = loaded.Network;
        double MeasurePerplexity(int length, IAttention attention) =>
            Perplexity.Evaluate(model, test, length, PerplexityProtocol.LongLora, length, attention, null, cancellation).Perplexity;
        var measures = ListLengths(native, options.Factor)
            .Select(length => new LengthMeasure(
                length,
                MeasurePerplexity(length, new FullAttention()),
                RetrievalEvaluation
                    .Run(model, tokenizer, new PasskeyTask(), length, options.Trials, options.Seed, cancellation: cancellation)
                    .Accuracy
            ))
            .ToList();
        var flops = training is null
            ? null
            : StepFlops.Count(
                model.Config,
                training.Method.MakeAttention(training.Model.Context),
                training.Method.MakeAdapterOptions(),
                training.Model.Context,
                training.Optimizer.BatchSize,
                1
            );
        double[] losses = training is null ? [] : [.. MetricsLog.Read(training.Run.Output).Select(s => s.Loss)];
        return new ReproductionFile
        {
            Name = run.Name,
            Made = "",
            Measures = measures,
            OwnPatternPerplexity = training is null or { Method.Attention: AttentionKind.Full }
                ? null
                : MeasurePerplexity(training.Model.Context, training.Method.MakeAttention(training.Model.Context)),
            TrainedWeights = trained?.TrainedParameters ?? 0,
            TrainingLoss = losses.Length == 0 ? null : losses[^Math.Max(1, losses.Length / 4)..].Average(),
            TrainingSeconds = trained is null ? 0 : seconds,
            ProcessorSeconds = trained is null ? 0 : processor,
            StepFlops = (flops?.Needed ?? 0) * 2,
            AttentionFlops = training is null
                ? 0
                : 24.0
                    * training.Optimizer.BatchSize
                    * model.Config.HeadCount
                    * model.Config.HeadSize
                    * model.Blocks.Count
                    * training.Method.MakeAttention(training.Model.Context).MakePattern(training.Model.Context).PairsPerHead,
        };
    }

    /// <summary>The lengths that are measured: the native context and its doublings.</summary>
    public static IReadOnlyList<int> ListLengths(int native, int factor) =>
        [.. Enumerable.Range(0, 31).Select(i => native << i).TakeWhile(length => length <= native * factor)];

    private static string Describe(ReproductionOptions options, ReproductionRun run, int native) =>
        run.Settings is null
            ? $"not trained, positions {run.Stretch ?? "unchanged"}, factor {options.Factor}"
            : string.Join(
                "; ",
                FineTuneOptionTable
                    .All.Where(o => o.Effect != OptionEffect.None)
                    .Where(o => o.Format(MakeTrainingOptions(options, run, native)) != o.Format(FineTuneOptionTable.Defaults))
                    .Select(o => $"{o.Name} {o.Format(MakeTrainingOptions(options, run, native))}")
            );

    private static ReproductionFile? Read(string file, string made)
    {
        if (!File.Exists(file))
            return null;
        var result =
            EvaluationFile.Read(file) as ReproductionFile
            ?? throw new DataException($"{file} is not the result of a run. Remove it to repeat the run.");
        return result.Made == made
            ? result
            : throw new ConfigurationException(
                $"{file} was made with other options or other text ({result.Made}). Choose another output, or remove the file."
            );
    }

    // Finished runs need no checkpoints; those of all runs would take a few hundred megabytes.
    private static void RemoveCheckpoints(ReproductionOptions options, ReproductionRun run) =>
        AtomicFile.Delete(Locate(options, "runs", run.Name, "checkpoints"));

    private static string Locate(ReproductionOptions options, params string[] names) => Path.Combine([options.Output, .. names]);
}
